"""Faults on demand: which API calls go wrong, how, how often and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from paastis.simulate.durations import read_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said instead of the truth."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    """A text is sent as it is, anything else as JSON; None means what the provider usually says."""
    html: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Fault:
    """One thing that goes wrong with the calls that match."""

    match: str
    """`METHOD /path`; `*` stands for one segment of the path, `**` for anything."""
    times: int | None = None
    """How many more calls it befalls; None is until it is removed."""
    until: datetime | None = None
    delay: timedelta = timedelta()
    """Waits this long before the call takes effect."""
    delay_answer: timedelta = timedelta()
    """Waits this long after the call took effect."""
    drop: Literal["before", "after"] | None = None
    """Breaks the connection, before or after the call took effect."""
    answer: Answer | None = None
    operation_error: str | None = None
    """The operation that the call starts is accepted, and ends in this error."""
    expire_token: bool = False
    """Every bearer token sold so far is refused from this call on, this call included."""
    hits: int = 0
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.pattern = _compile(self.match)

    def to_json(self) -> dict[str, object]:
        """As the control interface shows it."""
        return {
            "match": self.match,
            "times": self.times,
            "until": self.until.timestamp() if self.until else None,
            "hits": self.hits,
            "delay": self.delay.total_seconds(),
            "delay_answer": self.delay_answer.total_seconds(),
            "drop": self.drop,
            "answer": None if self.answer is None else {"status": self.answer.status},
            "operation": None if self.operation_error is None else "error",
            "message": self.operation_error,
            "expire_token": self.expire_token,
        }


class Faults:
    """The faults in force, oldest first; a call meets the first one that matches it."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let something go wrong from now on."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def in_force(self) -> list[Fault]:
        """Those that may still befall a call."""
        now = self._now()
        self._faults = [
            f for f in self._faults if f.times != 0 and (f.until is None or now < f.until)
        ]
        return list(self._faults)

    def befalling(self, method: str, path: str) -> Fault | None:
        """The fault that this call meets; it is used up by one."""
        if not self._faults:
            return None
        call = f"{method} {path}"
        for fault in self.in_force():
            if fault.pattern.fullmatch(call):
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


_KEYS = frozenset(
    [
        "match",
        "times",
        "for",
        "delay",
        "delay_answer",
        "drop",
        "answer",
        "operation",
        "message",
        "expire_token",
    ]
)


def parse_fault(data: object, now: datetime) -> Fault:
    """Read a fault as the control interface takes it.

    Raises ValueError with a sentence that names what was given and what is expected.
    """
    given = _mapping(data, "a fault", _KEYS)
    times = given.get("times")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise ValueError(f"times is {times!r}; expected a whole number from 1, or null")
    drop = given.get("drop")
    if drop not in {None, "before", "after"}:
        raise ValueError(f'drop is {drop!r}; expected "before" or "after"')
    operation = given.get("operation")
    if operation not in {None, "error"}:
        raise ValueError(f'operation is {operation!r}; expected "error"')
    match = given.get("match", "**")
    if not isinstance(match, str) or not match.strip():
        raise ValueError(f'match is {match!r}; expected something like "POST /v1/apps/*/scale"')
    fault = Fault(
        match=match,
        times=times,
        until=now + read_duration(given["for"]) if given.get("for") is not None else None,
        delay=read_duration(given.get("delay") or 0),
        delay_answer=read_duration(given.get("delay_answer") or 0),
        drop=drop,
        answer=None if given.get("answer") is None else _answer(given["answer"]),
        operation_error=str(given.get("message") or "simulated failure") if operation else None,
        expire_token=given.get("expire_token") is True,
    )
    harmless = not (fault.delay or fault.delay_answer or fault.drop or fault.answer)
    if harmless and fault.operation_error is None and not fault.expire_token:
        raise ValueError(
            "a fault needs one of delay, delay_answer, drop, answer, operation, expire_token"
        )
    return fault


def _answer(data: object) -> Answer:
    given = _mapping(data, "answer", frozenset(["status", "headers", "body", "html"]))
    status = given.get("status")
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"answer.status is {status!r}; expected a number from 200 to 599")
    headers = given.get("headers") or {}
    if not isinstance(headers, dict):
        raise ValueError(f"answer.headers is {headers!r}; expected names with values")  # noqa: TRY004 - bad input
    html = given.get("html")
    return Answer(
        status,
        headers={str(name): str(value) for name, value in headers.items()},
        body=given.get("body"),
        html=None if html is None else str(html),
    )


def _mapping(data: object, what: str, keys: frozenset[str]) -> dict[str, object]:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is {data!r}; expected an object")  # noqa: TRY004 - bad input, not a bug
    unknown = sorted(str(key) for key in data.keys() - keys)
    if unknown:
        raise ValueError(
            f"unknown key {unknown[0]!r} in {what}; expected {', '.join(sorted(keys))}"
        )
    return data


def _compile(match: str) -> re.Pattern[str]:
    method, space, path = match.strip().partition(" ")
    if not space:
        method, path = ("**", method) if method.startswith(("/", "*")) else (method, "**")
    if path == "*":
        path = "**"
    return re.compile(f"{_glob(method.upper())} {_glob(path.strip())}")


def _glob(text: str) -> str:
    parts = re.split(r"(\*\*?)", text)
    return "".join({"**": ".*", "*": "[^/ ]*"}.get(part, re.escape(part)) for part in parts)
