"""Rules → the effective policy of an app, with where each value came from; and what links add.

A rule shapes the apps whose whole name its pattern matches. Fields are decided one by one: a
person's override beats every rule, a rule of higher priority beats one of lower priority, among
equals the later one wins, then come the account, the defaults, and what `Policy` says itself.

Templates in `linked_apps`, the display name and `hosts` may refer to what the pattern caught: `$1`
or `${1}`, `$name` or `${name}`, `$0` for the whole name; `$$` is a dollar sign. One that refers to a
group which does not exist, or took no part in the match, is dropped and reported.

A display name is one more name to be found by. It never changes which app a record stands for.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta

from paastis.pattern import compile_pattern
from paastis.policy import Mode, Policy, Settings, Wake, WakeSettings

DEFAULT_RESOLUTION_FLOOR = timedelta(seconds=10)
LONGEST_RESOLUTION = timedelta(seconds=60)

_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<braced>[0-9]+|[A-Za-z_][A-Za-z0-9_]*)\}"
    r"|(?P<bare>[0-9]+|[A-Za-z_][A-Za-z0-9_]*))"
)
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Shell commands around a start or stop; None: nothing said, empty text: none here."""

    before_start: str | None = None
    after_start: str | None = None
    before_stop: str | None = None
    after_stop: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What people say about the apps whose name a pattern matches."""

    pattern: str
    """Regular expression on the remote app name, matched whole; see `paastis/pattern.py`."""
    settings: Settings
    source: str
    """How people know it, as in `rule 'app-.*' (paastis.yml, line 4)`."""
    name: str = ""
    priority: int = 0
    accounts: tuple[str, ...] | None = None
    """Only for these accounts; None: for all."""
    hooks: Hooks = Hooks()

    @property
    def has_templates(self) -> bool:
        """Whether what it says of an app depends on the app's name."""
        said = self.settings
        texts = (*(said.linked_apps or ()), *(said.hosts or ()), said.display_name or "")
        return any("$" in text for text in texts)

    def match(self, app_name: str, account: str) -> re.Match[str] | None:
        """The match on that app's name. Raises ValueError if the pattern was never valid."""
        if self.accounts is not None and account not in self.accounts:
            return None
        return compile_pattern(self.pattern).fullmatch(app_name)


@dataclass(frozen=True, slots=True)
class Effective:
    """What applies to one app."""

    policy: Policy
    matched: tuple[Rule, ...]
    """In the order in which they apply: what a later one says wins."""
    problems: tuple[str, ...] = ()
    """One sentence each: templates and host names that had to be dropped."""


@dataclass(frozen=True, slots=True)
class LinkNode:
    """What linking needs to know of an app."""

    account: str
    app_name: str
    display_name: str | None
    links: tuple[str, ...]
    """Names or display names of the apps that it keeps awake."""


def effective(
    app_name: str,
    account: str,
    rules: Sequence[Rule],
    *,
    defaults: Settings,
    account_settings: Settings,
    overrides: Settings,
    mode: Mode,
    resolution_floor: timedelta = DEFAULT_RESOLUTION_FLOOR,
) -> Effective:
    """The policy of one app; `rules` in the order of their file.

    The access resolution is that of the app alone; see `access_resolution` for linked ones.
    """
    problems: list[str] = []
    matched: list[Rule] = []
    layers = [(_default_source, defaults), (_named(f"account {account!r}"), account_settings)]
    for rule in sorted(rules, key=lambda rule: rule.priority):  # stable: the file's order stays
        if match := rule.match(app_name, account):
            matched.append(rule)
            layers.append((_named(rule.source), _expanded(rule, match, problems)))
    layers.append((_named("override"), overrides))

    chosen: dict[str, object] = {}
    wake: dict[str, object] = {}
    sources: dict[str, str] = {"mode": f"account {account!r}"}
    for source, settings in layers:
        for name, value in _said(settings):
            if name == "wake":
                wake.update(_said(settings.wake))
                sources.update((f"wake.{part}", source(part)) for part, _ in _said(settings.wake))
            else:
                chosen[name] = value
                sources[name] = source(name)
    for name in (field.name for field in fields(Settings) if field.name != "wake"):
        sources.setdefault(name, "default")
    for name in (field.name for field in fields(WakeSettings)):
        sources.setdefault(f"wake.{name}", "default")

    idle = chosen.get("max_idle_time", Policy().max_idle_time)
    assert isinstance(idle, timedelta)  # noqa: S101 (from a field of that type)
    policy = Policy(
        mode=mode,
        wake=Wake(**wake),  # type: ignore[arg-type] # the names and types of `WakeSettings`
        access_resolution=access_resolution([idle], resolution_floor),
        sources=sources,
        **chosen,  # type: ignore[arg-type] # the names and types of `Settings`
    )
    return Effective(policy, tuple(matched), tuple(problems))


def hooks_for(matched: Sequence[Rule], defaults: Hooks) -> Hooks:
    """The hooks of an app whose rules matched in this order; empty commands become None."""
    chosen = dict(_said(defaults))
    for rule in matched:
        chosen.update(_said(rule.hooks))
    return Hooks(**{name: str(command) for name, command in chosen.items() if command})


def access_resolution(
    idle_times: Iterable[timedelta], floor: timedelta = DEFAULT_RESOLUTION_FLOOR
) -> timedelta:
    """How old the record of the last access may be: a tenth of the smallest idle time.

    At least `floor`, at most a minute. Give the idle times of the app and of all it links to.
    """
    smallest = min(idle_times, default=LONGEST_RESOLUTION * 10)
    return min(max(smallest / 10, floor), LONGEST_RESOLUTION)


def linked(names: Mapping[str, LinkNode]) -> Mapping[str, frozenset[str]]:
    """For each record name, the record names that it keeps awake, through others too.

    A link means the apps of that name, else those of that display name; in the same account if
    there are any, else wherever. Nothing is linked to itself; what does not exist is no link.
    Work and memory grow with the links found. Apps that link to the same share one set; only those
    in a circle have sets of their own, so circles should be small, as people's are.
    """
    targets = _targets(names)
    reached: dict[frozenset[str], frozenset[str]] = {}
    result = {}
    for name in names:
        direct = targets[name]
        if direct not in reached:
            reached[direct] = _reach(direct, targets)
        everything = reached[direct]
        result[name] = everything - {name} if name in everything else everything
    return result


def _targets(names: Mapping[str, LinkNode]) -> dict[str, frozenset[str]]:
    by_name: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    by_display: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for name, node in names.items():
        for account in (node.account, None):
            by_name[account, node.app_name].append(name)
            if node.display_name is not None:
                by_display[account, node.display_name].append(name)

    def resolve(account: str, link: str) -> Sequence[str]:
        return (
            by_name.get((account, link))
            or by_name.get((None, link))
            or by_display.get((account, link))
            or by_display.get((None, link))
            or ()
        )

    return {
        name: frozenset(found for link in node.links for found in resolve(node.account, link))
        for name, node in names.items()
    }


def _reach(start: frozenset[str], targets: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """All that can be reached, circles and all."""
    seen = set(start)
    todo = list(start)
    while todo:
        new = targets[todo.pop()] - seen
        seen |= new
        todo.extend(new)
    return frozenset(seen)


def _said(settings: Settings | WakeSettings | Hooks | None) -> Iterator[tuple[str, object]]:
    """The fields that are not left open."""
    if settings is None:
        return
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value is not None:
            yield field.name, value


def _default_source(name: str) -> str:
    return "START_AND_STOP_MAX_IDLE_TIME" if name == "max_idle_time" else "default"


def _named(source: str) -> Callable[[str], str]:
    return lambda _: source


def _expanded(rule: Rule, match: re.Match[str], problems: list[str]) -> Settings:
    """The rule's settings for one app, its templates filled in."""
    settings = rule.settings

    def expand(what: str, template: str) -> str | None:
        if "$" not in template:
            return template
        try:
            return _REFERENCE.sub(lambda reference: _caught(reference, match), template)
        except LookupError as missing:
            problems.append(
                f"{rule.source}: {what} {template!r} was dropped for app {match.string!r}, since "
                f"{missing.args[0]}"
            )
            return None

    def expand_all(what: str, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if templates is None:
            return None
        texts = (expand(what, template) for template in templates)
        return tuple(dict.fromkeys(text for text in texts if text))

    hosts = expand_all("host", settings.hosts)
    if hosts is not None:
        hosts = tuple(host.lower() for host in hosts)
        problems.extend(
            f"{rule.source}: host {host!r} was dropped for app {match.string!r}, since it is not "
            "a host name"
            for host in hosts
            if not _HOST.fullmatch(host)
        )
        hosts = tuple(host for host in hosts if _HOST.fullmatch(host))
    return Settings(
        power=settings.power,
        max_idle_time=settings.max_idle_time,
        linked_apps=expand_all("linked app", settings.linked_apps),
        display_name=expand("display name", settings.display_name)
        if settings.display_name
        else None,
        hosts=hosts,
        schedule=settings.schedule,
        wake=settings.wake,
        ignore_access=settings.ignore_access,
        rewrite=settings.rewrite,
        max_tunnel_idle=settings.max_tunnel_idle,
    )


def _caught(reference: re.Match[str], match: re.Match[str]) -> str:
    """What a reference stands for; LookupError with the reason if for nothing."""
    if reference["dollar"]:
        return "$"
    group = reference["braced"] or reference["bare"]
    try:
        caught = match[int(group) if group.isdigit() else group]
    except (IndexError, ValueError):
        raise LookupError(f"the pattern has no group {group!r}") from None
    if caught is None:
        raise LookupError(f"group {group!r} took no part in the match")
    return caught
