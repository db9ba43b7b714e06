"""Random records that a cluster could hold: what people say about them is valid."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from paastis.app import (
    Activity,
    App,
    AppChange,
    Condition,
    Identity,
    Operation,
    OperationKind,
    Overrides,
    Phase,
    Process,
    Retry,
    Snapshot,
)
from paastis.policy import (
    IgnoreAccess,
    Mode,
    Policy,
    Power,
    Schedule,
    Settings,
    Wake,
    WakeBy,
    WakeMode,
    WakeSettings,
    Window,
)
from paastis.reasons import Reason

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"),
    min_size=1,
    max_size=20,
)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)


def spans(low: timedelta = timedelta(0), high: timedelta = 3660 * DAY) -> Any:
    """Durations to the microsecond, or round ones."""
    exact = st.timedeltas(low, high)
    return exact | exact.map(lambda span: max(low, timedelta(seconds=span // SECOND)))


def tuples(items: Any, most: int = 3) -> Any:
    return st.lists(items, max_size=most).map(tuple)


def maybe(values: Any) -> Any:
    return st.none() | values


windows = st.builds(
    Window,
    start=st.sampled_from(["0 8 * * 1-5", "*/5 * * * *", "30 7 1 jan mon"]),
    end=st.sampled_from(["0 19 * * *", "15 23 * * 5"]),
)
schedules = st.builds(
    Schedule,
    time_zone=st.sampled_from(["UTC", "Europe/Paris", "America/Argentina/Ushuaia", "Etc/GMT+5"]),
    awake=tuples(windows),
    sleep=tuples(windows),
)
_patterns = st.sampled_from(["/health", "/assets/.*", "[Bb]ot", "a+b?"])
_networks = st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "192.0.2.7/32"])
_hosts = st.sampled_from(["shop.example.com", "www.example.org", "a", "xn--bcher-kva.example"])

ignores = st.builds(
    IgnoreAccess,
    methods=tuples(st.sampled_from(["HEAD", "OPTIONS", "X-PING"])),
    paths=tuples(_patterns),
    user_agents=tuples(_patterns),
    addresses=tuples(_networks),
    built_in=st.booleans(),
)
_wake_parts: dict[str, Any] = {
    "mode": st.sampled_from(WakeMode),
    "by": st.sampled_from(WakeBy),
    "timeout": spans(SECOND, timedelta(minutes=10)),
    "page_status": st.sampled_from([503, 200, 202]),
    "ready_path": st.sampled_from(["/", "/health?full=1"]),
    "ready_status": tuples(st.integers(100, 599)),
}
settings = st.builds(
    Settings,
    power=maybe(st.sampled_from(Power)),
    max_idle_time=maybe(spans(high=365 * DAY)),
    linked_apps=maybe(tuples(texts)),
    display_name=maybe(texts),
    hosts=maybe(tuples(_hosts)),
    schedule=maybe(schedules),
    wake=maybe(
        st.builds(WakeSettings, **{name: maybe(part) for name, part in _wake_parts.items()})
    ),
    ignore_access=maybe(ignores),
    rewrite=maybe(st.booleans()),
    max_tunnel_idle=maybe(spans(SECOND, 365 * DAY)),
)
overrides = st.builds(
    Overrides,
    settings=settings,
    awake_until=maybe(times),
    sleep_for=maybe(st.integers(1, 10**9)),
    problems=st.just(()),
)
SOURCE_NAMES = (
    "mode",
    "access_resolution",
    *(field.name for field in fields(Settings) if field.name != "wake"),
    *(f"wake.{field.name}" for field in fields(Wake)),
)
policies = st.builds(
    Policy,
    power=st.sampled_from(Power),
    mode=st.sampled_from(Mode),
    max_idle_time=spans(),
    linked_apps=tuples(texts),
    display_name=maybe(texts),
    hosts=tuples(_hosts),
    schedule=maybe(schedules),
    wake=st.builds(Wake, **_wake_parts),
    ignore_access=ignores,
    rewrite=st.booleans(),
    max_tunnel_idle=maybe(spans()),
    access_resolution=spans(),
    sources=st.dictionaries(
        st.sampled_from(SOURCE_NAMES),
        texts | st.sampled_from(["PaastisRule first", "PaastisRule second", "default"]),
        max_size=4,
    ),
)
_formations = tuples(st.builds(Process, type=texts, amount=st.integers(0, 1000), size=maybe(texts)))
_snapshots = st.builds(Snapshot, taken_at=times, processes=_formations, autoscalers=tuples(texts))
_operations = st.builds(
    Operation,
    kind=st.sampled_from(OperationKind),
    id=texts,
    sent_at=times,
    ref=maybe(texts),
    ended_at=maybe(times),
)
_reasons = st.sampled_from(Reason)
_conditions = tuples(
    st.builds(
        Condition,
        type=_reasons.map(str).filter(lambda kind: kind not in {"Asleep", "Managed"}),
        status=st.booleans(),
        reason=_reasons,
        message=texts | st.just(""),
        since=times,
    )
)
_changes: dict[str, Any] = {
    "app_name": texts,
    "overrides": overrides,
    "phase": st.sampled_from(Phase),
    "phase_since": maybe(times),
    "phase_reason": _reasons,
    "cycle": st.integers(1, 10**9),
    "url": maybe(texts),
    "hosts": tuples(_hosts),
    "policy": policies,
    "formation": _formations,
    "snapshot": maybe(_snapshots),
    "operation": maybe(_operations),
    "retry": st.builds(Retry, failures=st.integers(0, 99), not_before=maybe(times)),
    "last_activity": maybe(st.builds(Activity, time=times, reason=_reasons)),
    "last_start_time": maybe(times),
    "last_stop_time": maybe(times),
    "usual_boot": maybe(spans(high=DAY)),
    "asleep_seconds": st.floats(0, 10**9),
    "deployment": maybe(texts),
    "conditions": _conditions,
}
changes: Any = st.fixed_dictionaries({}, optional=_changes)
"""Any `AppChange`."""

apps = st.builds(
    App,
    name=names,
    identity=st.builds(Identity, account=names, region=names, app_id=texts),
    provider=st.sampled_from(["", "scalingo"]),
    created_at=times,
    last_access_time=maybe(times),
    wake_for=maybe(st.integers(1, 10**9)),
    version=st.integers(1, 2**63),
    **_changes,
)


def after(app: App, change: AppChange) -> App:
    """The record with the change made."""
    return replace(app, **change)
