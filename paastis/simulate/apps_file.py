"""Reads apps from YAML (`--apps`) or JSON (the control interface), and says where they are wrong.

All problems are told at once, each in one sentence that names the line where that is known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast, get_args

import yaml

from paastis.errors import ConfigError
from paastis.simulate.app import FOREVER, ProcessSpec
from paastis.simulate.durations import read_duration
from paastis.simulate.scalingo_json import MOST_CONTAINERS, SIZES
from paastis.simulate.spec import (
    DEFAULT_REGION,
    DEFAULT_SIZE,
    AppSpec,
    AutoscalerSpec,
    InitialStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?", re.ASCII)
_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_APP_KEYS = [
    "name",
    "region",
    "formation",
    "autoscalers",
    "status",
    "deployed",
    "boot_time",
    "stop_time",
    "boot_failures",
    "domains",
    "parent",
]
_PROCESS_KEYS = ["amount", "size"]
_AUTOSCALER_KEYS = [
    "type",
    "container_type",
    "min",
    "min_containers",
    "max",
    "max_containers",
    "metric",
    "target",
    "disabled",
]

Path_ = tuple[str | int, ...]


class AppsError(ConfigError):
    """The apps are not as expected; one sentence for each problem."""


def read_apps(file: Path) -> tuple[AppSpec, ...]:
    """The apps in a YAML file. Raises AppsError."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise AppsError(f"{file}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AppsError(f"{file}: is not UTF-8 text") from error
    return parse_apps_text(text, source=str(file))


def parse_apps_text(text: str, *, source: str) -> tuple[AppSpec, ...]:
    """The apps in a YAML text; `source` names it in problems. Raises AppsError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        what = getattr(error, "problem", None) or "not YAML"
        raise AppsError(f"{source}{line}: {what}") from error
    lines: dict[Path_, int] = {}
    if node is not None:
        _note_lines(node, (), lines)

    def where(path: Path_) -> str:
        for length in range(len(path), -1, -1):
            if path[:length] in lines:
                return f"{source}, line {lines[path[:length]]}"
        return source

    reader = _Reader(where)
    apps = reader.file(data)
    reader.raise_problems()
    return apps


def parse_app(data: object) -> AppSpec:
    """One app as the control interface takes it. Raises AppsError."""
    reader = _Reader(lambda _path: "app")
    app = reader.app(data, ())
    reader.raise_problems()
    if app is None:
        raise AppsError("app: can't be read")
    return app


def parse_formation(data: object) -> dict[str, ProcessSpec]:
    """A formation as the control interface takes it: `{web: 1}` or `{web: {amount: 1, size: M}}`.

    Amounts and sizes that are not given are None. Raises AppsError.
    """
    reader = _Reader(lambda _path: "formation")
    formation = reader.formation(data, ())
    reader.raise_problems()
    return formation


def _note_lines(node: yaml.Node, path: Path_, lines: dict[Path_, int]) -> None:
    """Remember the line of every key and item, counted from 1."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[*path, key.value] = key.start_mark.line + 1
                _note_lines(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*path, index), lines)


class _Reader:
    """Turns plain data into values, and collects what is wrong."""

    def __init__(self, where: Callable[[Path_], str]) -> None:
        self._where = where
        self._problems: list[str] = []

    def raise_problems(self) -> None:
        if self._problems:
            raise AppsError(self._problems)

    def file(self, data: object) -> tuple[AppSpec, ...]:
        top = self._mapping(data, (), ["apps"], "the file")
        items = top.get("apps")
        if not isinstance(items, list):
            if not self._problems:
                self._wrong((), "expected `apps:` with a list of apps")
            return ()
        apps = [self.app(item, ("apps", index)) for index, item in enumerate(items)]
        seen: set[tuple[str, str]] = set()
        for index, app in enumerate(apps):
            if app is None:
                continue
            if (app.region, app.name) in seen:
                self._wrong(("apps", index), f"a second app {app.name} in region {app.region}")
            seen.add((app.region, app.name))
        return tuple(app for app in apps if app is not None)

    def app(self, data: object, path: Path_) -> AppSpec | None:
        given = self._mapping(data, path, _APP_KEYS, "an app")
        name = given.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._wrong(
                (*path, "name"),
                f"name is {name!r}; expected 1 to 48 lower-case letters, digits and hyphens",
            )
            return None
        status = self._status(given, path)
        spec = AppSpec(
            name=name,
            region=self._text(given, path, "region", DEFAULT_REGION, _NAME),
            formation=(
                {
                    process: ProcessSpec(
                        1 if p.amount is None else p.amount, p.size or DEFAULT_SIZE
                    )
                    for process, p in self.formation(
                        given["formation"], (*path, "formation")
                    ).items()
                }
                if "formation" in given
                else {"web": ProcessSpec(1, DEFAULT_SIZE)}
            ),
            autoscalers=tuple(
                self._autoscaler(item, (*path, "autoscalers", index))
                for index, item in enumerate(self._list(given, path, "autoscalers"))
            ),
            status=status,
            boot_time=self._duration(given, path, "boot_time"),
            stop_time=self._duration(given, path, "stop_time"),
            boot_failures=self._boot_failures(given, path),
            domains=tuple(str(item).lower() for item in self._list(given, path, "domains")),
            parent=self._text(given, path, "parent", "", None),
        )
        for index, autoscaler in enumerate(spec.autoscalers):
            if autoscaler.type not in spec.formation:
                self._wrong(
                    (*path, "autoscalers", index), f"no process type {autoscaler.type!r} to scale"
                )
        return spec

    def formation(self, data: object, path: Path_) -> dict[str, ProcessSpec]:
        if not isinstance(data, dict) or not data:
            self._wrong(path, f"formation is {data!r}; expected process types")
            return {}
        formation: dict[str, ProcessSpec] = {}
        for name, given in data.items():
            here = (*path, str(name))
            if not _TYPE.fullmatch(str(name)):
                self._wrong(here, f"{name!r} is not the name of a process type")
                continue
            if isinstance(given, dict):
                process = self._mapping(given, here, _PROCESS_KEYS, "a process type")
            else:
                process = {} if given is None else {"amount": given}
            amount, size = process.get("amount"), process.get("size")
            if amount is not None and not _is_count(amount, 0, MOST_CONTAINERS):
                self._wrong(
                    (*here, "amount"),
                    f"amount is {amount!r}; expected a number from 0 to {MOST_CONTAINERS}",
                )
                continue
            if size is not None and size not in SIZES:
                self._wrong(
                    (*here, "size"), f"size is {size!r}; expected one of {', '.join(SIZES)}"
                )
                continue
            formation[str(name)] = ProcessSpec(amount, size)
        return formation

    def _autoscaler(self, data: object, path: Path_) -> AutoscalerSpec:
        given = self._mapping(data, path, _AUTOSCALER_KEYS, "an autoscaler")
        minimum = given.get("min", given.get("min_containers", 2))
        maximum = given.get("max", given.get("max_containers", 4))
        target = given.get("target", 0.8)
        if not _is_count(minimum, 2, MOST_CONTAINERS) or not _is_count(maximum, 2, MOST_CONTAINERS):
            self._wrong(path, f"min and max are numbers from 2 to {MOST_CONTAINERS}")
            return AutoscalerSpec()
        if isinstance(target, bool) or not isinstance(target, int | float):
            self._wrong((*path, "target"), f"target is {target!r}; expected a number")
            return AutoscalerSpec()
        return AutoscalerSpec(
            type=str(given.get("type", given.get("container_type", "web"))),
            minimum=minimum,
            maximum=maximum,
            metric=str(given.get("metric", "cpu")),
            target=float(target),
            disabled=given.get("disabled") is True,
        )

    def _status(self, given: Mapping[str, object], path: Path_) -> InitialStatus:
        deployed = given.get("deployed", True)
        if not isinstance(deployed, bool):
            self._wrong((*path, "deployed"), f"deployed is {deployed!r}; expected true or false")
        status = given.get("status", "running" if deployed else "new")
        if status not in get_args(InitialStatus):
            expected = ", ".join(get_args(InitialStatus))
            self._wrong((*path, "status"), f"status is {status!r}; expected one of {expected}")
            return "running"
        if not deployed and status != "new":
            self._wrong((*path, "status"), f"status is {status!r} for an app never deployed")
        return cast("InitialStatus", status)

    def _boot_failures(self, given: Mapping[str, object], path: Path_) -> int:
        value = given.get("boot_failures", 0)
        if value == "always":
            return FOREVER
        if _is_count(value, 0, 1_000_000):
            return cast("int", value)
        self._wrong(
            (*path, "boot_failures"),
            f'boot_failures is {value!r}; expected a number from 0, or "always"',
        )
        return 0

    def _duration(self, given: Mapping[str, object], path: Path_, key: str) -> timedelta | None:
        value = given.get(key)
        if value is None:
            return None
        try:
            return read_duration(value)
        except ValueError as error:
            self._wrong((*path, key), f"{key}: {error}")
            return None

    def _text(
        self,
        given: Mapping[str, object],
        path: Path_,
        key: str,
        default: str,
        pattern: re.Pattern[str] | None,
    ) -> str:
        value = given.get(key, default)
        if isinstance(value, str) and (pattern is None or pattern.fullmatch(value)):
            return value
        self._wrong((*path, key), f"{key} is {value!r}; expected a name")
        return default

    def _list(self, given: Mapping[str, object], path: Path_, key: str) -> list[object]:
        value = given.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        self._wrong((*path, key), f"{key} is {value!r}; expected a list")
        return []

    def _mapping(self, data: object, path: Path_, keys: list[str], what: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            self._wrong(path, f"{what} is {data!r}; expected keys such as {', '.join(keys[:3])}")
            return {}
        for key in data:
            if key not in keys:
                self._wrong(
                    (*path, str(key)),
                    f"unknown key {str(key)!r} in {what}; expected {', '.join(keys)}",
                )
        return data

    def _wrong(self, path: Path_, sentence: str) -> None:
        self._problems.append(f"{self._where(path)}: {sentence}")


def _is_count(value: object, lowest: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= most
