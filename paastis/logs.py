"""How log lines look, and what never appears in them.

Text for people: time, level, logger, message, then `key=value` for each extra. JSON for machines:
one object a line with the same keys. Secrets that were made known by `protect` are replaced in the
finished line, so that no message, extra or traceback can carry them out.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus

from pythonjsonlogger.json import JsonFormatter

from paastis.secret import Secret

SHORTEST_PROTECTED = 4
"""Characters. Anything shorter occurs in ordinary words and cannot be kept out sensibly."""

_QUIET = ("aiohttp.access", "httpcore", "httpx")
"""Loggers that tell of every request, addresses and query strings included."""

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime",
    "message",
    "taskName",
    # Arguments of a retried call, as stamina logs them: they may hold anything.
    "stamina.args",
    "stamina.kwargs",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_protected: set[str] = set()
_pattern: re.Pattern[str] | None = None


def protect(secret: Secret) -> None:
    """Keep a secret out of every log line from now on, also quoted for Python, JSON or an address."""
    global _pattern
    value = secret.reveal()
    if len(value) < SHORTEST_PROTECTED:
        return
    _protected.update(
        (
            value,
            repr(value)[1:-1],
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            quote(value, safe=""),
            quote_plus(value),
        )
    )
    # The longest first: one secret may begin another.
    _pattern = re.compile("|".join(map(re.escape, sorted(_protected, key=len, reverse=True))))


def redact(text: str) -> str:
    """The text with `***` for each protected secret."""
    return text if _pattern is None else _pattern.sub("***", text)


def configure_logging(level: str, format: Literal["text", "json"], stream: TextIO) -> None:  # noqa: A002 - the setting's name
    """Send all log lines of at least `level` (a name of `logging`, any case) to the stream.

    May be called again: the last call counts. Raises ValueError for an unknown level.
    """
    root = logging.getLogger()
    root.setLevel(level.upper())
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    handler = _Handler(stream)
    handler.setFormatter(_Json() if format == "json" else _Text())
    root.addHandler(handler)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A read that is repeated is no news as long as a repetition succeeds; the last failure is told.
    logging.getLogger("stamina").setLevel(max(logging.ERROR, root.level))


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second call finds it."""


class _Text(logging.Formatter):
    """One line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        # Control characters are written out: what a visitor sends must not forge a line.
        parts = [
            _time(record),
            f"{record.levelname:<7}",
            record.name,
            _CONTROL.sub(_written_out, record.getMessage()),
            *(f"{key}={_value(value)}" for key, value in _extras(record).items()),
        ]
        lines = [" ".join(parts)]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(self.formatStack(record.stack_info))
        # A lone surrogate, from bytes that were no UTF-8, could not be written to the stream.
        return redact("\n".join(lines)).encode(errors="backslashreplace").decode()


class _Json(JsonFormatter):
    """One object a line."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill the object; `message_dict` holds a traceback or stack, formatted."""
        log_data["time"] = _time(record)
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = record.getMessage()
        log_data.update(_extras(record))
        log_data.update(message_dict)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _ORDINARY}


def _value(value: object) -> str:
    """Bare where that can be read without doubt, else quoted."""
    text = str(value)
    plain = text and not any(sign in text for sign in ' "=') and text.isprintable()
    return text if plain else json.dumps(text, ensure_ascii=False)


def _written_out(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
