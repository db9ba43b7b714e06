"""Log lines: readable, parseable, and silent about secrets."""

import io
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from paastis import logs
from paastis.logs import configure_logging, protect
from paastis.reasons import Reason
from paastis.secret import Secret

TOKEN = 'tk-us-s3cret/"quoted" é'


@pytest.fixture(autouse=True)
def clean_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the process' logging as it was."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    quiet = {name: logging.getLogger(name).level for name in ("httpx", "aiohttp.access")}
    monkeypatch.setattr(logs, "_protected", set())
    monkeypatch.setattr(logs, "_pattern", None)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)


def log_to(format_: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, format_, stream)  # type: ignore[arg-type]
    return stream


LOG = logging.getLogger("controller.reconciler")


def test_text_line_has_time_level_logger_message_and_extras() -> None:
    stream = log_to("text")
    LOG.info("put %s to sleep", "shop", extra={"reason": Reason.IDLE, "what": "two words"})
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == (
        'INFO    controller.reconciler put shop to sleep reason=Idle what="two words"\n'
    )


def test_json_line_is_one_object_with_the_same_keys() -> None:
    stream = log_to("json")
    LOG.warning("put %s to sleep", "shop", extra={"reason": Reason.IDLE, "count": 3})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "controller.reconciler",
        "message": "put shop to sleep",
        "reason": "Idle",
        "count": 3,
    }


@pytest.mark.parametrize("format_", ["text", "json"])
def test_visitor_cannot_forge_a_line(format_: str) -> None:
    stream = log_to(format_)
    LOG.info("host %s", "a\n2026 INFO all is well", extra={"path": "/\r\nx\x1b[31m"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_bytes_that_are_no_text_can_be_logged() -> None:
    stream = log_to("text")
    # To our handler alone: pytest's own cannot pass such a line on from a parallel run.
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, logs._Handler)]
    host = b"\xff".decode(errors="surrogateescape")
    handler.handle(LOG.makeRecord("x", logging.INFO, "f.py", 1, "host %s", (host,), None))
    assert "\\udcff" in stream.getvalue()
    stream.getvalue().encode()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_protected_secret_appears_nowhere(format_: str) -> None:
    stream = log_to(format_)
    protect(Secret(TOKEN))
    LOG.info("token %s", TOKEN, extra={"url": f"https://x/?token={quote(TOKEN, safe='')}"})
    LOG.info("extra", extra={"token": TOKEN, "nested": {"deep": [TOKEN]}})
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        LOG.exception("failed")
    text = stream.getvalue()
    assert "***" in text
    assert "s3cret" not in text


def test_longer_secret_is_replaced_whole_where_another_begins_it() -> None:
    stream = log_to("text")
    protect(Secret("abcd"))
    protect(Secret("abcd-1234"))
    LOG.info("it is abcd-1234")
    assert "1234" not in stream.getvalue()


def test_too_short_a_secret_does_not_garble_the_log() -> None:
    stream = log_to("text")
    protect(Secret(""))
    protect(Secret("a"))
    LOG.info("banana")
    assert "banana" in stream.getvalue()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_traceback_is_logged(format_: str) -> None:
    stream = log_to(format_)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        LOG.exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "RuntimeError: broken" in stream.getvalue()


def test_arguments_of_retried_calls_are_left_out() -> None:
    stream = log_to("text")
    LOG.warning("retry", extra={"stamina.args": "('token',)", "stamina.callable": "get"})
    assert "stamina.callable=get" in stream.getvalue()
    assert "stamina.args" not in stream.getvalue()


def test_level_holds_and_request_logs_are_quiet() -> None:
    stream = log_to("text", level="info")
    LOG.debug("too fine")
    logging.getLogger("httpx").info("GET https://api/?secret")
    logging.getLogger("aiohttp.access").info("GET /?secret")
    logging.getLogger("httpx").warning("strange")
    assert "strange" in stream.getvalue()
    assert "too fine" not in stream.getvalue()
    assert "secret" not in stream.getvalue()


def test_second_call_replaces_the_first() -> None:
    first = log_to("text")
    second = log_to("json")
    LOG.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud", "text", io.StringIO())
