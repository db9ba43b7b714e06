"""A record as JSON and back, for the kinds of registry that store text.

Times are ISO 8601 in UTC, spans ISO 8601 durations. Keys that this version does not know are
ignored and missing ones take their default, so that a record written by an older version loads.
"""

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from paastis.app import App

_RECORD: TypeAdapter[App] = TypeAdapter(App)


class BadRecord(ValueError):
    """The text is no record; the message says what is wrong with it, without its values."""


def encode(app: App) -> str:
    """The record as one line of JSON.

    Raises ValueError for a value of another type than its field has: written, it could not be
    read again, and that would be noticed at the next start only.
    """
    if not isinstance(app.policy.sources, dict):
        # pydantic writes no other mapping, such as a read-only view.
        app = replace(app, policy=replace(app.policy, sources=dict(app.policy.sources)))
    return _RECORD.dump_json(app, warnings="error").decode()


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
