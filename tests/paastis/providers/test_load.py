from datetime import UTC, datetime

import pytest

from paastis.config import AccountConfig
from paastis.errors import ConfigError
from paastis.providers.load import open_provider, provider_class, stopped_verdict_of
from paastis.providers.port import Verdict
from paastis.providers.scalingo import Scalingo
from paastis.secret import Secret


def account(provider: str = "scalingo", **urls: str) -> AccountConfig:
    token = {"api_token": Secret("tk-us-x")}
    return AccountConfig(name="main", provider=provider, credentials=token, urls=urls)


def now() -> datetime:
    return datetime.now(UTC)


def test_adapter_is_found_by_its_name() -> None:
    assert provider_class("scalingo") is Scalingo


def test_unknown_provider_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'scalinggo' is not known.*scalingo"):
        provider_class("scalinggo")


async def test_account_is_opened() -> None:
    provider = open_provider(account(), now=now)
    assert isinstance(provider, Scalingo)
    await provider.aclose()


def test_refused_address_names_the_account() -> None:
    with pytest.raises(ConfigError, match="'main'"):
        open_provider(account(api="nonsense"), now=now)


def test_proxies_judge_answers_without_credentials() -> None:
    assert stopped_verdict_of("scalingo")(503, {"Content-Type": "text/html"}) is Verdict.MAYBE
