"""Which accounts of a cluster may act, and why the others rest. Pure: from resources to verdicts.

In order of age, so that of two accounts with the same owner at the same provider the older one acts
and the younger one rests: each would spend the other's calls and list the other's apps.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from controller.credentials import Credentials
from controller.resources import Resource, oldest_first
from paastis.config import AccountConfig
from paastis.errors import ConfigError
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.resources.account import account_from, secret_name_of
from paastis.secret import Secret

Holding = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, Secret], ...]]
"""Where credentials are good, and which they are."""

_NO_CREDENTIALS: Mapping[str, Secret] = {"api_token": Secret("none")}
"""Stand in where the Secret holds none, so that the rest of the spec can be read. Never sent."""


_NAMES_NONE = Credentials(
    problem=Reason.SECRET_MISSING,
    message="spec.credentialsSecretRef names no Secret; expected one with the key apiToken.",
)


@dataclass(frozen=True, slots=True)
class Acts:
    """It may look after its apps."""

    config: AccountConfig


@dataclass(frozen=True, slots=True)
class Rests:
    """It can do nothing, until a person changes something."""

    reason: Reason
    message: str
    config: AccountConfig
    """What it says of its apps, as far as that can be read."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Its Secret was not read yet."""


Verdict = Acts | Rests | Waits


def holding(config: AccountConfig) -> Holding:
    """The account's credentials and where they are good."""
    return (
        config.provider,
        tuple(sorted(config.urls.items())),
        tuple(sorted(config.credentials.items(), key=lambda item: item[0])),
    )


def judge(
    resources: Iterable[Resource],
    credentials: Callable[[str], Credentials | None],
    owners: Mapping[Holding, str],
    *,
    insecure: bool = False,
    ignored_apps: tuple[str, ...] = (),
) -> dict[str, Verdict]:
    """A verdict for each PaastisAccount, by name.

    `credentials` tells what a Secret holds, None where it was not read yet. `owners` tells who
    credentials belong to, as far as the providers were asked. `ignored_apps` are for all accounts.
    """
    verdicts: dict[str, Verdict] = {}
    claimed: dict[object, str] = {}
    for resource in oldest_first(resources):
        name = str(resource["metadata"]["name"])
        verdict = _alone(resource, name, credentials, insecure=insecure)
        if isinstance(verdict, Acts):
            config = replace(
                verdict.config,
                ignored_apps=tuple(dict.fromkeys(verdict.config.ignored_apps + ignored_apps)),
            )
            verdict = _unless_claimed(config, claimed, owners)
        verdicts[name] = verdict
    return verdicts


def _alone(
    resource: Resource,
    name: str,
    credentials: Callable[[str], Credentials | None],
    *,
    insecure: bool,
) -> Verdict:
    try:
        secret = secret_name_of(resource)
        found = _NAMES_NONE if secret is None else credentials(secret)
        if found is None:
            return Waits()
        given = found.values if found.problem is None else _NO_CREDENTIALS
        config = account_from(resource, given, insecure=insecure)
    except ConfigError as error:
        message = " ".join(f"{problem.rstrip('.')}." for problem in error.problems)
        return Rests(Reason.ACCOUNT_INVALID, message, _unreadable(resource, name))
    if found.problem is not None:
        return Rests(found.problem, found.message, replace(config, credentials={}))
    return Acts(config)


def _unless_claimed(
    config: AccountConfig, claimed: dict[object, str], owners: Mapping[Holding, str]
) -> Verdict:
    held = holding(config)
    claims: list[object] = [held]
    if (owner := owners.get(held)) is not None:
        claims.append((config.provider, held[1], owner))
    for claim in claims:
        if claim in claimed:
            return Rests(
                Reason.DUPLICATE,
                f"The older account {claimed[claim]!r} has credentials of the same owner at "
                f"{config.provider}; this one rests until that one is deleted.",
                config,
            )
    claimed.update(dict.fromkeys(claims, config.name))
    return Acts(config)


def _unreadable(resource: Resource, name: str) -> AccountConfig:
    """An account of which nothing is sure: its apps are shown, and nothing is done."""
    provider = str(resource.get("spec", {}).get("provider", ""))
    return AccountConfig(
        name=name, provider=provider, mode=Mode.PAUSE, source=f"PaastisAccount {name}"
    )
