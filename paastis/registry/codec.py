"""A record as JSON and back, for the kinds of registry that store text.

Times are ISO 8601 in UTC, spans ISO 8601 durations. Keys that this version does not know are
ignored and missing ones take their default, so that a record written by an older version loads.
"""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from paastis.app import App

_RECORD: TypeAdapter[App] = TypeAdapter(App)


class BadRecord(ValueError):
    """The text is no record; the message says what is wrong with it, without its values."""


def encode(app: App) -> str:
    """The record as one line of JSON."""
    return _RECORD.dump_json(app, fallback=_plain).decode()


def _plain(value: object) -> object:
    """What pydantic does not know to write: read-only views of a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A record cannot hold a {type(value).__name__}.")


def decode(text: str | bytes) -> App:
    """The record that `encode` wrote. Raises `BadRecord`."""
    try:
        return _RECORD.validate_json(text)
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc']) or 'record'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise BadRecord("; ".join(problems)) from None
