"""A PaastisAccount and its Secret, as the account's configuration; and the status it is told in."""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from paastis.app import Condition
from paastis.config import values
from paastis.config.accounts import AVAILABLE_PROVIDERS, PROVIDERS, AccountConfig
from paastis.config.values import SECOND
from paastis.errors import ConfigError
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.resources.fields import Fields, word
from paastis.resources.rule import conditions_from
from paastis.resources.standing import READY, changed, condition_of
from paastis.resources.values import news, time_text
from paastis.secret import Secret

ACCOUNT_SOURCE = "PaastisAccount "
"""What the account's `source` begins with; its name follows."""
PROVIDER_REACHABLE = "ProviderReachable"

ACCOUNT_KEYS = (
    "provider",
    "mode",
    "regions",
    "organisations",
    "credentialsSecretRef",
    "ignoredApps",
    "onlyApps",
    "discoveryInterval",
    "apiUrl",
    "authUrl",
    "operationTimeout",
    "callsPerMinute",
    "maxIdleTime",
)
SECRET_KEYS: Mapping[str, str] = {"apiToken": "api_token"}
"""Keys of the Secret, and what they are called in `AccountConfig.credentials`."""

SHORTEST_DISCOVERY = timedelta(seconds=10)
LONGEST_DISCOVERY = timedelta(days=1)


def secret_name_of(resource: Mapping[str, Any]) -> str | None:
    """The name of the Secret with the account's credentials; None where it names none."""
    name = ((resource.get("spec") or {}).get("credentialsSecretRef") or {}).get("name")
    return name if isinstance(name, str) and name else None


def credentials_from(secret: Mapping[str, Any]) -> dict[str, Secret]:
    """The credentials in a Secret. Raises `ConfigError`, which shows none of them."""
    name = (secret.get("metadata") or {}).get("name")
    found: dict[str, Secret] = {}
    problems: list[str] = []
    for key, meaning in SECRET_KEYS.items():
        encoded = (secret.get("data") or {}).get(key)
        try:
            # A line break at the end is what `echo` leaves, and never part of a token.
            text = b64decode(encoded or "", validate=True).decode().strip()
            if not text:
                raise ValueError("nothing given; expected the token")
            found[meaning] = values.secret(text)
        except UnicodeError:
            problems.append(f"Secret {name!r}, key {key}: the value (not shown) is not text.")
        except ValueError as error:
            problems.append(f"Secret {name!r}, key {key}: {error}.")
    if problems:
        raise ConfigError(problems)
    return found


def account_from(
    resource: Mapping[str, Any], credentials: Mapping[str, Secret], *, insecure: bool
) -> AccountConfig:
    """The account's configuration; `insecure` allows http API addresses everywhere.

    Raises `ConfigError` with a sentence for each problem: an account that is wrong in one field
    might act on the wrong apps, so it is not used at all.
    """
    name = (resource.get("metadata") or {}).get("name") or ""
    problems: list[str] = []
    fields = Fields(resource.get("spec") or {}, path="spec", problems=problems)
    address = values.url(insecure=insecure)
    provider = fields.one("provider", values.choice(PROVIDERS))
    urls = {"api": fields.one("apiUrl", address), "auth": fields.one("authUrl", address)}
    account = AccountConfig(
        name=name,
        provider=provider or "",
        mode=fields.one("mode", word(Mode)) or Mode.OBSERVE,
        regions=fields.many("regions", values.region) or (),
        organisations=fields.many("organisations", values.text) or (),
        credentials=dict(credentials),
        urls={purpose: url for purpose, url in urls.items() if url is not None},
        operation_timeout=fields.one("operationTimeout", values.operation_timeout),
        calls_per_minute=fields.one("callsPerMinute", values.calls_per_minute),
        max_idle_time=fields.one("maxIdleTime", values.idle_time),
        discovery_interval=fields.one(
            "discoveryInterval",
            values.duration(unit=SECOND, low=SHORTEST_DISCOVERY, high=LONGEST_DISCOVERY),
        ),
        ignored_apps=fields.many("ignoredApps", values.pattern) or (),
        only_apps=fields.many("onlyApps", values.pattern) or (),
        source=f"{ACCOUNT_SOURCE}{name}",
    )
    try:
        values.account_name(name)
    except ValueError as error:
        problems.append(f"metadata.name: {error}")
    if "provider" not in fields:
        problems.append("spec.provider: an account needs its provider")
    elif provider is not None and provider not in AVAILABLE_PROVIDERS:
        problems.append(
            f"spec.provider: {provider!r} is not available in this version; expected "
            f"{' or '.join(sorted(AVAILABLE_PROVIDERS))}"
        )
    elif provider is not None and "api_token" not in credentials:
        problems.append("spec.credentialsSecretRef: no token; expected a Secret with key apiToken")
    if problems:
        raise ConfigError(problems)
    return account


def account_status(
    resource: Mapping[str, Any],
    *,
    reachable: bool | None,
    apps: int | None,
    budget_left: int | None,
    last_complete_listing: datetime | None,
    conditions: Iterable[Condition],
    now: datetime,
    problem: tuple[Reason, str] | None = None,
) -> dict[str, Any]:
    """A merge patch of the status; empty where the resource says all of this already.

    `conditions` are those of `controller.account.Account`, each a problem while it is true.
    `problem` is what keeps the account from being used at all. None means that a value is not known.
    """
    status = resource.get("status") or {}
    generation = (resource.get("metadata") or {}).get("generation")
    before = conditions_from(status)
    problems = tuple(conditions)
    if problem is not None:
        reason, message = problem
        problems = (
            *(one for one in problems if one.type != reason),
            changed(reason.value, True, reason, message, before=before, now=now),
        )
    standing = [
        changed(kind, *said, before=before, now=now)
        for kind, said in _standing(reachable, problems, problem)
    ]
    listed = last_complete_listing
    said = {
        "reachable": reachable,
        "apps": apps,
        "budgetLeft": budget_left,
        "lastCompleteListing": None if listed is None else time_text(listed),
        "conditions": [condition_of(one, generation) for one in (*standing, *problems)],
        "observedGeneration": generation,
    }
    return news(said, status)


Said = tuple[bool, Reason, str]


def _standing(
    reachable: bool | None, problems: tuple[Condition, ...], problem: tuple[Reason, str] | None
) -> Iterable[tuple[str, Said]]:
    failure = next((one for one in problems if one.status and one.reason in _FAILURES), None)
    if reachable:
        answers: Said = (True, Reason.REACHABLE, "The provider answers.")
    elif failure is not None:
        answers = (False, failure.reason, failure.message)
    elif reachable is None:
        answers = (False, Reason.NOT_TRIED, "The provider has not been asked yet.")
    else:
        answers = (False, Reason.UNREACHABLE, "The provider does not answer.")
    yield PROVIDER_REACHABLE, answers
    if problem is not None:
        yield READY, (False, *problem)
    elif answers[0]:
        yield READY, (True, Reason.REACHABLE, "The account is looked after.")
    else:
        yield READY, answers


_FAILURES = frozenset({Reason.UNREACHABLE, Reason.CREDENTIALS_REFUSED, Reason.RATE_LIMITED})
