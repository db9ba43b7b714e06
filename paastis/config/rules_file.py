"""paastis.yml: rules and accounts, every mistake reported with its line.

The file is taken as a tree of YAML nodes, not as Python objects: nodes know their lines, duplicate
keys are still there, and a value is read from the text that was written (`15`, `90s`), whatever type
YAML would guess. Only keys that are known are followed, so depth and work are bounded.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import yaml

from paastis.config import values
from paastis.config.accounts import PROVIDERS, AccountConfig
from paastis.config.values import SECOND, Check, did_you_mean, shown
from paastis.pattern import MOST_OPEN_REPEATS_ON_VISITS, compile_pattern
from paastis.policy import (
    IgnoreAccess,
    Mode,
    Power,
    Schedule,
    Settings,
    WakeBy,
    WakeMode,
    WakeSettings,
    Window,
)
from paastis.rule import Hooks, Rule
from paastis.schedule import check_cron, check_time_zone
from paastis.secret import Secret

T = TypeVar("T")
Lookup = Callable[[str], str | None]

_LONGEST_FILE = 1024 * 1024  # characters
_TEXT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "timestamp")}
_BOOL_TAG = "tag:yaml.org,2002:bool"
_NULL_TAG = "tag:yaml.org,2002:null"

_RULE_KEYS = (
    "pattern",
    "name",
    "app_name",
    "display_name",
    "app_max_idle_time",
    "max_idle_time",
    "linked_apps",
    "power",
    "hosts",
    "schedule",
    "wake",
    "ignore_access",
    "accounts",
    "priority",
    "rewrite",
    "max_tunnel_idle",
    "hooks",
)
_ACCOUNT_KEYS = (
    "name",
    "provider",
    "mode",
    "regions",
    "api_token",
    "api_token_env",
    "api_url",
    "auth_url",
    "operation_timeout",
    "calls_per_minute",
    "max_idle_time",
    "ignored_apps",
    "only_apps",
)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What the file says."""

    rules: tuple[Rule, ...] = ()
    accounts: tuple[AccountConfig, ...] = ()
    names_accounts: bool = False
    """Whether there are any, valid or not."""
    variables: tuple[str, ...] = ()
    """Names of the environment variables that it refers to."""


def parse_rules_file(
    text: str, *, name: str, variable: Lookup | None, insecure: bool, problems: list[str]
) -> FileContent:
    """Read the text of a file called `name`; what is wrong is added to `problems`.

    `variable` looks up an environment variable, None leaves the accounts out; `insecure` allows
    http API addresses everywhere.
    """
    if len(text) > _LONGEST_FILE:
        problems.append(f"{name}: {len(text)} characters; expected at most {_LONGEST_FILE}")
        return FileContent()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problems.append(f"{name}{line}: not valid YAML: {error.problem or error.context}")
        return FileContent()
    except yaml.reader.ReaderError as error:
        problems.append(f"{name}: not valid YAML: {error.reason} (character {error.position + 1})")
        return FileContent()
    except (RecursionError, ValueError, OverflowError) as error:
        # Nested too deeply, or an escape sequence beyond Unicode.
        problems.append(f"{name}: not valid YAML: {error}")
        return FileContent()
    if root is None or root.tag == _NULL_TAG:
        return FileContent()
    top = _Fields.of(root, ("rules", "accounts"), _Page(name, problems), "the file")
    variables: list[str] = []

    def token_from(environment_variable: str) -> Secret:
        variables.append(values.variable(environment_variable))
        given = variable(environment_variable) if variable else None
        if not given:
            raise ValueError(f"the variable {environment_variable} is not set; expected a token")
        return values.secret(given)

    accounts = tuple(
        account
        for fields in (top.mappings("accounts", _ACCOUNT_KEYS) if variable else ())
        if (account := _account(fields, token_from, insecure))
    )
    rules = tuple(
        rule for fields in top.mappings("rules", _RULE_KEYS) if (rule := _rule(fields, name))
    )
    return FileContent(rules, accounts, "accounts" in top, tuple(variables))


@dataclass(frozen=True, slots=True)
class _Page:
    """The file being read, and what is wrong with it so far."""

    name: str
    problems: list[str]

    def refuse(self, node: yaml.Node, sentence: str) -> None:
        """Note a problem at that node's line."""
        self.problems.append(f"{self.name}, line {node.start_mark.line + 1}: {sentence}")


@dataclass(frozen=True, slots=True)
class _Fields:
    """One mapping of the file. What is null counts as not said."""

    node: yaml.Node
    page: _Page
    entries: Mapping[str, yaml.Node] = field(default_factory=dict)

    @classmethod
    def of(cls, node: yaml.Node, known: Collection[str], page: _Page, what: str) -> "_Fields":
        """The node's entries; unknown and repeated keys are reported and left out."""
        if not isinstance(node, yaml.MappingNode):
            page.refuse(node, f"{what} should be a mapping with {', '.join(known)}")
            return cls(node, page)
        entries: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                page.refuse(key_node, f"a key of {what} should be a plain word")
            elif key in lines:
                page.refuse(key_node, f"key {key!r} again; it is already on line {lines[key]}")
            elif key not in known:
                hint = did_you_mean(key, known) or f"; expected one of {', '.join(known)}"
                page.refuse(key_node, f"unknown key {shown(key)}{hint}")
            else:
                lines[key] = key_node.start_mark.line + 1
                if value.tag != _NULL_TAG:
                    entries[key] = value
        return cls(node, page, entries)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def one(self, key: str, check: Check[T]) -> T | None:
        """The value of a key, None where nothing, or nothing valid, is said."""
        node = self.entries.get(key)
        return None if node is None else self._scalar(key, node, check)

    def flag(self, key: str) -> bool | None:
        """True or false, as YAML spells them."""
        node = self.entries.get(key)
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag != _BOOL_TAG:
            self.page.refuse(node, f"{key} should be true or false")
            return None
        return values.flag(node.value)

    def many(self, key: str, check: Check[T]) -> tuple[T, ...] | None:
        """The values of a list."""
        node = self.entries.get(key)
        if node is None:
            return None
        found = (self._scalar(key, item, check) for item in self._items(key, node))
        return tuple(value for value in found if value is not None)

    def mapping(self, key: str, known: Collection[str]) -> "_Fields | None":
        """The mapping under a key."""
        node = self.entries.get(key)
        return None if node is None else _Fields.of(node, known, self.page, key)

    def mappings(self, key: str, known: Collection[str]) -> Iterator["_Fields"]:
        """The mappings of a list."""
        node = self.entries.get(key)
        if node is not None:
            for item in self._items(key, node):
                yield _Fields.of(item, known, self.page, f"each of {key}")

    def _items(self, key: str, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.page.refuse(node, f"{key} should be a list")
        return []

    def _scalar(self, key: str, node: yaml.Node, check: Check[T]) -> T | None:
        if not isinstance(node, yaml.ScalarNode):
            self.page.refuse(node, f"{key} should be a single value")
        elif node.tag == _BOOL_TAG:
            self.page.refuse(
                node, f"{key}: {node.value!r} means true or false in YAML; quote it if it is text"
            )
        elif node.tag not in _TEXT_TAGS:
            self.page.refuse(node, f"{key} should be a plain value")
        else:
            try:
                return check(node.value)
            except ValueError as error:
                self.page.refuse(node, f"{key}: {error}")
        return None


def _rule(fields: _Fields, file: str) -> Rule | None:
    pattern = fields.one("pattern", values.pattern)
    if pattern is None and "pattern" not in fields and isinstance(fields.node, yaml.MappingNode):
        fields.page.refuse(fields.node, "a rule without its pattern")
    settings = Settings(
        power=fields.one("power", values.member(Power)),
        max_idle_time=_either(fields, "app_max_idle_time", "max_idle_time", values.idle_time),
        linked_apps=fields.many("linked_apps", values.text),
        display_name=_either(fields, "app_name", "display_name", values.text),
        hosts=fields.many("hosts", values.host_template),
        schedule=_schedule(fields),
        wake=_wake(fields),
        ignore_access=_ignore_access(fields),
        rewrite=fields.flag("rewrite"),
        max_tunnel_idle=fields.one(
            "max_tunnel_idle",
            values.duration(unit=SECOND, low=SECOND, high=timedelta(days=365)),
        ),
    )
    name = fields.one("name", values.text)
    priority = fields.one("priority", _priority)
    accounts = fields.many("accounts", values.account_name)
    hooks = _hooks(fields)
    if pattern is None:
        return None
    return Rule(
        pattern=pattern,
        settings=settings,
        source=f"rule {pattern!r} ({file}, line {fields.node.start_mark.line + 1})",
        name=name or pattern,
        priority=priority or 0,
        accounts=accounts,
        hooks=hooks,
    )


def _either(fields: _Fields, key: str, other: str, check: Check[T]) -> T | None:
    """The value under the original's name, or under the one that resources have."""
    if key in fields and other in fields:
        fields.page.refuse(fields.entries[other], f"{other} means the same as {key}; keep one")
    value = fields.one(key, check)
    return fields.one(other, check) if value is None else value


def _schedule(fields: _Fields) -> Schedule | None:
    schedule = fields.mapping("schedule", ("time_zone", "awake", "sleep"))
    if schedule is None:
        return None
    return Schedule(
        time_zone=schedule.one("time_zone", check_time_zone) or "UTC",
        awake=tuple(_windows(schedule, "awake")),
        sleep=tuple(_windows(schedule, "sleep")),
    )


def _windows(schedule: _Fields, key: str) -> Iterator[Window]:
    for window in schedule.mappings(key, ("start", "end")):
        start, end = window.one("start", check_cron), window.one("end", check_cron)
        if isinstance(window.node, yaml.MappingNode):
            for bound in ("start", "end"):
                if bound not in window:
                    window.page.refuse(window.node, f"a window of {key} without its {bound}")
        if start and end:
            yield Window(start, end)


def _wake(fields: _Fields) -> WakeSettings | None:
    wake = fields.mapping(
        "wake", ("mode", "by", "timeout", "page_status", "ready_path", "ready_status")
    )
    if wake is None:
        return None
    return WakeSettings(
        mode=wake.one("mode", values.member(WakeMode)),
        by=wake.one("by", values.member(WakeBy)),
        timeout=wake.one(
            "timeout", values.duration(unit=SECOND, low=SECOND, high=timedelta(minutes=10))
        ),
        page_status=wake.one("page_status", values.choice({"503": 503, "200": 200, "202": 202})),
        ready_path=wake.one("ready_path", values.path),
        ready_status=wake.many("ready_status", values.integer(100, 599)),
    )


def _ignore_access(fields: _Fields) -> IgnoreAccess | None:
    ignore = fields.mapping(
        "ignore_access", ("methods", "paths", "user_agents", "addresses", "built_in")
    )
    if ignore is None:
        return None
    built_in = ignore.flag("built_in")
    return IgnoreAccess(
        methods=ignore.many("methods", values.method) or (),
        paths=ignore.many("paths", _visit_pattern) or (),
        user_agents=ignore.many("user_agents", _visit_pattern) or (),
        addresses=ignore.many("addresses", values.network) or (),
        built_in=True if built_in is None else built_in,
    )


def _hooks(fields: _Fields) -> Hooks:
    hooks = fields.mapping("hooks", ("before_start", "after_start", "before_stop", "after_stop"))
    if hooks is None:
        return Hooks()
    return Hooks(
        before_start=hooks.one("before_start", values.command),
        after_start=hooks.one("after_start", values.command),
        before_stop=hooks.one("before_stop", values.command),
        after_stop=hooks.one("after_stop", values.command),
    )


def _account(
    fields: _Fields, token_from: Callable[[str], Secret], insecure: bool
) -> AccountConfig | None:
    address = values.url(insecure=insecure)
    if "provider" not in fields and isinstance(fields.node, yaml.MappingNode):
        fields.page.refuse(fields.node, "an account without its provider")
    if "api_token" in fields and "api_token_env" in fields:
        fields.page.refuse(fields.entries["api_token_env"], "give api_token or this, not both")
    provider = fields.one("provider", values.choice(PROVIDERS))
    name = fields.one("name", values.account_name)
    mode = fields.one("mode", values.member(Mode))
    regions = fields.many("regions", values.region)
    token = fields.one("api_token", values.secret)
    token = fields.one("api_token_env", token_from) if token is None else token
    if token is None and ("api_token" in fields or "api_token_env" in fields):
        token = Secret("")  # it has been refused already; nobody should miss it as well
    urls = {"api": fields.one("api_url", address), "auth": fields.one("auth_url", address)}
    account = AccountConfig(
        name=name or provider or "",
        provider=provider or "",
        mode=Mode.MANAGE if mode is None else mode,
        regions=regions or (),
        credentials={} if token is None else {"api_token": token},
        urls={purpose: url for purpose, url in urls.items() if url is not None},
        operation_timeout=fields.one("operation_timeout", values.operation_timeout),
        calls_per_minute=fields.one("calls_per_minute", values.calls_per_minute),
        max_idle_time=fields.one("max_idle_time", values.idle_time),
        ignored_apps=fields.many("ignored_apps", values.pattern) or (),
        only_apps=fields.many("only_apps", values.pattern) or (),
        source=f"account {name or provider!r} ({fields.page.name}, line "
        f"{fields.node.start_mark.line + 1})",
    )
    return account if provider else None


def _priority(given: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", given):
        raise ValueError(f"{shown(given)} is not a priority; expected a whole number, as in 10")
    return int(given)


def _visit_pattern(given: str) -> str:
    compile_pattern(given, most_open_repeats=MOST_OPEN_REPEATS_ON_VISITS)
    return given
