"""Scalingo's answers, read defensively: unknown keys are ignored, unknown words are not guessed at.

Pure. What an answer lacks that we cannot do without is `Malformed`, an `Unavailable`: the provider is
there but does not speak as documented, so nothing was learnt. Facts are from Scalingo's API reference
(developers.scalingo.com) and the recorded exchanges of its own clients.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from paastis.app import Formation, Observation, Process, web_amount
from paastis.errors import Busy, NotFound, ProviderError, Rejected, Unavailable
from paastis.providers.http import Answer
from paastis.providers.port import Followed, Progress

_OPERATING = frozenset({"scaling", "restarting"})
CHANGING = _OPERATING | {"booting"}
"""Words of `app.status` for an operation or a deployment that is in progress."""
_DEPLOYING = frozenset({"queued", "building", "starting", "pushing"})
_FORMATION_VALUE = re.compile(r"(?P<amount>\d{1,4})(?::(?P<size>\w{1,16}))?", re.ASCII)
_OPERATION_PATH = re.compile(r".*/operations/(?P<id>[A-Za-z0-9-]{1,64})/?", re.ASCII)


class Malformed(Unavailable):
    """The answer is not what the provider documents."""


class NoChange(Rejected):
    """The formation is as wanted already."""


class AppGone(NotFound):
    """The app does not exist."""


class TypeGone(NotFound):
    """A process type that was named does not exist any more; which one, the answer does not say."""


@dataclass(frozen=True, slots=True)
class AppAnswer:
    """The part of an app that we use."""

    id: str
    name: str
    status: str
    url: str | None
    hosts: tuple[str, ...]
    deployment: str | None


@dataclass(frozen=True, slots=True)
class Region:
    """Where the API of a region is."""

    name: str
    api: str
    default: bool


@dataclass(frozen=True, slots=True)
class Autoscalers:
    """The enabled ones."""

    ids: tuple[str, ...]
    types: tuple[str, ...]


def refusal(answer: Answer, words: str) -> ProviderError:
    """What a refusing answer means."""
    data = answer.data if isinstance(answer.data, Mapping) else {}
    error, errors, resource = data.get("error"), data.get("errors"), data.get("resource")
    match answer.status:
        case 400 if "no change" in str(error).lower():
            return NoChange(words)
        # A 404 without `resource` is no word on an app: a gateway or a wrong address says so too.
        case 404 if isinstance(resource, str):
            kinds = {"app": AppGone, "container_type": TypeGone}
            return kinds.get(resource, NotFound)(words)
        case 409:
            return Busy(words)
        # "is booting" is the known wording; whatever the app itself is at, it passes.
        case 422 if isinstance(errors, Mapping) and "app" in errors:
            return Busy(words)
        case 404 if "no metrics" in str(error).lower():
            return NotFound(words)
        case _:
            return Rejected(words)


APPS_MEMBERS = frozenset(
    {
        "apps",
        "id",
        "name",
        "status",
        "base_url",
        "url",
        "last_deployment_id",
        "last_deployed_at",
    }
)
"""All that `apps` looks at."""


def apps(data: object) -> tuple[list[AppAnswer], list[str]]:
    """The apps of `GET /apps`, and a sentence for each that cannot be read."""
    found, problems = [], []
    for item in _list(_field(data, "apps"), "apps"):
        try:
            found.append(app({"app": item}))
        except Malformed as unreadable:
            problems.append(str(unreadable))
    return found, problems


def app(data: object) -> AppAnswer:
    """The app of `GET /apps/{app}`."""
    one = _field(data, "app")
    # The canonical domain may be in `url`, and lead to paastis itself.
    urls = [url for key in ("base_url", "url") if (url := _web_address(_optional(one, key)))]
    hosts = (urlsplit(url).hostname or "" for url in urls)
    return AppAnswer(
        id=_text(one, "id"),
        name=_text(one, "name"),
        status=_text(one, "status"),
        url=urls[0] if urls else None,
        hosts=tuple(dict.fromkeys(host for host in hosts if host)),
        deployment=_optional(one, "last_deployment_id") or _optional(one, "last_deployed_at"),
    )


def listed_state(status: str) -> Observation:
    """What a listing's word says about web processes, as far as it can.

    `running` means any process type, so it is a hint only; `scaling` and `restarting` may lead
    either way.
    """
    return {
        "new": Observation.STOPPED,
        "booting": Observation.STARTING,
        "running": Observation.RUNNING,
        "stopped": Observation.STOPPED,
        "crashed": Observation.FAILED,
    }.get(status, Observation.UNKNOWN)


def formation(data: object) -> Formation:
    """All process types of `GET /apps/{app}/containers`, also those at 0."""
    return tuple(
        Process(_text(item, "name"), _count(item, "amount"), _optional(item, "size"))
        for item in _list(_field(data, "containers"), "containers")
    )


def processes(data: object) -> list[tuple[str, str]]:
    """Type and state of each live container of `GET /apps/{app}/ps`."""
    return [
        (_text(item, "type"), _text(item, "state"))
        for item in _list(_field(data, "containers"), "containers")
    ]


def observed_state(status: str, wanted: Formation, live: Sequence[tuple[str, str]]) -> Observation:
    """What the web processes do, from the app's word, the formation and the live containers.

    `live` may be empty unread where the formation wants no web process and nothing is in progress.
    """
    states = {state for kind, state in live if kind == "web"}
    changing = status in CHANGING
    if web_amount(wanted) == 0:
        # A deployment leaves the amount at 0, so while one runs nothing is being stopped.
        going = bool(states) or status != "booting"
        return Observation.STOPPING if changing and going else Observation.STOPPED
    if status in _OPERATING:
        # Whatever runs now, the operation may be a stop whose answer was lost and which the
        # formation does not show yet: nobody may take this for a settled state.
        return Observation.STARTING
    if "running" in states:
        return Observation.RUNNING  # also while a new version starts beside the old one
    if changing or "booting" in states:
        return Observation.STARTING
    if status == "crashed" or "crashed" in states:
        return Observation.FAILED
    if "stopping" in states:
        return Observation.STOPPING
    return Observation.UNKNOWN if states else Observation.STOPPED


def deploying(data: object) -> bool:
    """Whether the newest of `GET /apps/{app}/deployments` is still on its way."""
    newest = _list(_field(data, "deployments"), "deployments")[:1]
    return any(_text(item, "status") in _DEPLOYING for item in newest)


def autoscalers(data: object) -> Autoscalers:
    """The enabled ones of `GET /apps/{app}/autoscalers`."""
    enabled = [
        item
        for item in _list(_field(data, "autoscalers"), "autoscalers")
        if not _mapping(item, "autoscaler").get("disabled", False)
    ]
    return Autoscalers(
        ids=tuple(_text(item, "id") for item in enabled),
        types=tuple(dict.fromkeys(_text(item, "container_type") for item in enabled)),
    )


def operation(data: object) -> Followed:
    """How `GET /apps/{app}/operations/{id}` says it stands."""
    one = _mapping(_field(data, "operation"), "operation")
    status = _text(one, "status")
    if status == "done":
        return Followed(Progress.DONE)
    if status == "error":
        words = _optional(one, "error") or _optional(one, "message")
        return Followed(Progress.FAILED, words or "the provider gives no reason")
    return Followed(Progress.RUNNING)


def operation_id(location: str) -> str | None:
    """The id at the end of an operation's address, or None.

    Only the id is used, never the address itself: a credential goes to no place that an answer names.
    """
    match = _OPERATION_PATH.fullmatch(urlsplit(location).path)
    return match["id"] if match else None


def regions(data: object) -> tuple[Region, ...]:
    """The regions of `GET /regions`."""
    return tuple(
        Region(
            name=_text(item, "name"),
            api=_text(item, "api").rstrip("/"),
            default=_mapping(item, "region").get("default") is True,
        )
        for item in _list(_field(data, "regions"), "regions")
    )


def account_holder(data: object) -> str:
    """`username (email)` of `GET /users/self`."""
    user = _field(data, "user")
    email = _optional(user, "email")
    return f"{_text(user, 'username')} ({email})" if email else _text(user, "username")


def bearer(data: object) -> str:
    """The token of `POST /tokens/exchange`."""
    token = _text(data, "token")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Malformed("Scalingo's bearer token has characters that no header takes")
    return token


def latest_traffic(data: object, since: datetime) -> datetime | None:
    """Start of the latest bucket of `GET /apps/{app}/stats/router` after `since` with requests."""
    busy = (
        _time(_text(item, "time"))
        for item in _list(data, "router statistics")
        if _number(_mapping(item, "bucket").get("value")) > 0
    )
    return max((start for start in busy if start > since), default=None)


def before_last_zero(data: object) -> Formation | None:
    """The formation before the newest scale of web to zero in one page of `GET /apps/{app}/events`."""
    scales = [
        item
        for item in _list(_field(data, "events"), "events")
        if _mapping(item, "event").get("type") == "scale"
    ]
    for event in sorted(scales, key=lambda item: _time(_text(item, "created_at")), reverse=True):
        changed = _mapping(_field(event, "type_data"), "type_data")
        before = _event_formation(changed.get("previous_containers"))
        after = _event_formation(changed.get("containers"))
        if web_amount(before) > 0 and web_amount(after) == 0:
            return before
    return None


def next_page(data: object) -> int | None:
    """The page after this one, where there is one."""
    meta = data.get("meta") if isinstance(data, Mapping) else None
    pages = meta.get("pagination") if isinstance(meta, Mapping) else None
    following = pages.get("next_page") if isinstance(pages, Mapping) else None
    return following if isinstance(following, int) else None


def _event_formation(value: object) -> Formation:
    """Amounts by type: `"3:S"` in real payloads, integers in the reference."""
    if not isinstance(value, Mapping):
        return ()
    found = []
    for kind, given in value.items():
        match = _FORMATION_VALUE.fullmatch(str(given))
        if match is None:
            raise Malformed(f"Scalingo's event history has an amount {str(given)[:40]!r}")
        found.append(Process(str(kind), int(match["amount"]), match["size"]))
    return tuple(found)


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Malformed(f"Scalingo's answer has no {what} where one is expected")
    return value


def _field(value: object, key: str) -> object:
    return _mapping(value, f"object with {key!r}").get(key)


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise Malformed(f"Scalingo's answer has no list of {what} where one is expected")
    return value


def _text(value: object, key: str) -> str:
    found = _field(value, key)
    if not isinstance(found, str) or not found:
        raise Malformed(f"Scalingo's answer lacks {key!r}")
    return found


def _optional(value: object, key: str) -> str | None:
    found = _field(value, key)
    return found if isinstance(found, str) and found else None


def _count(value: object, key: str) -> int:
    found = _field(value, key)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise Malformed(f"Scalingo's answer lacks a number {key!r}")
    return found


def _number(value: object) -> float:
    """A count of requests; null stands for none."""
    return float(value) if isinstance(value, int | float) else 0.0


def _time(value: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise Malformed(f"Scalingo's answer has a time {value[:40]!r}") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _web_address(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return None
    return given.rstrip("/") if usable else None
