"""What applies to one app: the effective policy, and the partial settings it is made from.

A `Policy` is complete; `Settings` is what a default, a rule or a person's override says about it,
every field of which may be left open (None).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class Power(StrEnum):
    """Who decides whether the app runs."""

    AUTO = "Auto"
    """Use does."""
    ALWAYS_ON = "AlwaysOn"
    """It is kept awake."""
    ALWAYS_OFF = "AlwaysOff"
    """It is kept asleep; visitors are told so."""
    UNMANAGED = "Unmanaged"
    """Nobody here: it is forwarded to and never touched."""


class Mode(StrEnum):
    """What paastis may do with an account's apps."""

    OBSERVE = "Observe"
    """Decide and show; touch nothing."""
    MANAGE = "Manage"
    PAUSE = "Pause"
    """Serve and wake, put nothing to sleep."""
    WAKE_ALL = "WakeAll"
    """Wake what we put to sleep, then as `PAUSE`."""


class WakeMode(StrEnum):
    """How a visitor waits for a sleeping app."""

    AUTO = "auto"
    """Browsers' navigations get the waiting page, everything else is held."""
    HOLD = "hold"
    PAGE = "page"
    """Navigations get the waiting page, everything else a 503."""
    REJECT = "reject"
    """A 503 for everybody, and the wake is asked for."""


class WakeBy(StrEnum):
    """Which requests may wake the app."""

    ANY = "any"
    VISIT = "visit"
    """Navigations and clients that are not browsers: a forgotten tab does not wake it."""


@dataclass(frozen=True, slots=True)
class Wake:
    """How visitors of a sleeping app are treated."""

    mode: WakeMode = WakeMode.AUTO
    by: WakeBy = WakeBy.ANY
    timeout: timedelta = timedelta(seconds=50)
    """How long a request is held; below the 60 s that most front ends wait."""
    page_status: int = 503
    """Status of the waiting page: 503, 200 or 202."""
    ready_path: str = "/"
    """What is asked of the app to learn whether it answers."""
    ready_status: tuple[int, ...] = ()
    """Statuses that mean ready; empty: any but 502, 503 and 504."""


@dataclass(frozen=True, slots=True)
class WakeSettings:
    """The open form of `Wake`."""

    mode: WakeMode | None = None
    by: WakeBy | None = None
    timeout: timedelta | None = None
    page_status: int | None = None
    ready_path: str | None = None
    ready_status: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class IgnoreAccess:
    """Requests that are no use of the app. Any one match suffices."""

    methods: tuple[str, ...] = ()
    """Upper case."""
    paths: tuple[str, ...] = ()
    """Regular expressions on the path, matched whole."""
    user_agents: tuple[str, ...] = ()
    """Regular expressions, searched, case-insensitive."""
    addresses: tuple[str, ...] = ()
    """Networks of visitors, as in `192.0.2.0/24`."""
    built_in: bool = True
    """Also the built-in list of health checkers, link previewers and crawlers."""


@dataclass(frozen=True, slots=True)
class Window:
    """A recurring span of time: open from a firing of `start` to the next firing of `end`."""

    start: str
    """Cron expression, five fields."""
    end: str
    """Cron expression, five fields."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the app is kept awake, and when it may fall asleep sooner."""

    time_zone: str = "UTC"
    """IANA name."""
    awake: tuple[Window, ...] = ()
    sleep: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What one source says about an app's policy; None leaves a field to the next source."""

    power: Power | None = None
    max_idle_time: timedelta | None = None
    linked_apps: tuple[str, ...] | None = None
    display_name: str | None = None
    hosts: tuple[str, ...] | None = None
    schedule: Schedule | None = None
    wake: WakeSettings | None = None
    ignore_access: IgnoreAccess | None = None
    rewrite: bool | None = None
    max_tunnel_idle: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What applies to one app, with where each value came from."""

    power: Power = Power.AUTO
    mode: Mode = Mode.MANAGE
    """The account's, repeated here so that proxies need to read nothing but apps."""
    max_idle_time: timedelta = timedelta(minutes=15)
    linked_apps: tuple[str, ...] = ()
    """As configured: names or display names."""
    display_name: str | None = None
    hosts: tuple[str, ...] = ()
    """Extra host names, lower case."""
    schedule: Schedule | None = None
    wake: Wake = Wake()
    ignore_access: IgnoreAccess = IgnoreAccess()
    rewrite: bool = True
    max_tunnel_idle: timedelta | None = None
    """None: tunnels may be silent for ever."""
    access_resolution: timedelta = timedelta(seconds=60)
    """How old the record of the last access may be while the app is in use."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Field name → what set it, as people know it (`rule 'app-.*' (paastis.yml, line 4)`)."""
