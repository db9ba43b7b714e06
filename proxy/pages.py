"""Our own answers: the waiting page, refusals for browsers and programs, the list of apps. Pure.

Visitors get our reason word and a plain sentence, never a provider's text. Everything that goes
into HTML is escaped; pages load nothing and may run nothing but what is in them.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from urllib.parse import quote

from paastis.app import App, Phase
from paastis.reasons import Reason

OURS = "/.well-known/paastis/"
"""Everything below this path is ours on every host."""
WAIT = f"{OURS}wait"
EVENTS = f"{OURS}events"
_SLOT = re.compile(r"\{\{([a-z]+)\}\}")
_LISTED = 500
"""Rows of the list of apps at most."""

SENTENCES: Mapping[Reason, str] = {
    Reason.WAKING: "The app is being started. Try again in a few seconds.",
    Reason.WAKE_TIMED_OUT: "The app is being started, but was not ready in time. "
    "Try again in a few seconds.",
    Reason.START_FAILED: "The app could not be started.",
    Reason.CRASHED: "The app was started, but its processes crash.",
    Reason.OPERATION_OVERDUE: "Starting or stopping the app takes longer than it should.",
    Reason.BACKING_OFF: "The app could not be started. The next attempt comes after a pause.",
    Reason.TOO_MANY_WAITING: "Too many requests are waiting for the app already.",
    Reason.ALWAYS_OFF: "The app is switched off.",
    Reason.OBSERVED_ASLEEP: "The app is asleep, and paastis may only watch it, not start it.",
    Reason.NOT_WOKEN: "The app is asleep, and this kind of request does not wake it.",
    Reason.CONTROLLER_AWAY: "The app is asleep, and the part of paastis that starts apps does "
    "not answer at present.",
    Reason.ORIGIN_UNREACHABLE: "The app cannot be reached.",
    Reason.ORIGIN_TIMED_OUT: "The app did not answer in time.",
    Reason.ORIGIN_STOPPED: "The app is stopped.",
    Reason.ACCOUNT_MISSING: "The app is asleep, and its account was removed from paastis, which "
    "therefore cannot start it.",
    Reason.DISCOVERED: "The app was just found. Try again in a few seconds.",
    Reason.DELETED: "The app was deleted.",
    Reason.UNKNOWN_HOST: "No app is known under this address.",
    Reason.BAD_HOST: "The request names no valid host.",
    Reason.LOOP_DETECTED: "The app's address leads back to here.",
    Reason.SHUTTING_DOWN: "The proxy is shutting down. Try again now.",
}
_PLAIN = "The app is not available at present."

TITLES: Mapping[int, str] = {
    400: "This request makes no sense",
    404: "There is nothing here",
    405: "This method is not possible here",
    408: "The request took too long",
    502: "The app does not answer",
    503: "The app is not available",
    504: "The app does not answer",
    508: "This goes round in circles",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of ours."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _file(name: str) -> str:
    return resources.files("proxy").joinpath(name).read_text("utf-8")


def _template(name: str, *, styles: Sequence[str], script: str = "") -> tuple[str, str]:
    """A page with its style and script put in, and the policy that allows just these."""
    style = "".join(_file(file) for file in styles)
    page = _file(name).replace("{{style}}", style).replace("{{script}}", script)
    rules = ["default-src 'none'", "base-uri 'none'", f"style-src {_hash(style)}"]
    if script:
        rules += [f"script-src {_hash(script)}", "connect-src 'self'"]
    return page, "; ".join(rules)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_WAITING = _template(
    "waiting.html", styles=("style.css", "waiting.css"), script=_file("waiting.js")
)
_MESSAGE = _template("message.html", styles=("style.css",))
_LIST = _template("list.html", styles=("style.css", "list.css"))


def _filled(template: tuple[str, str], code: int, **texts: str) -> Answer:
    page, policy = template
    page = _SLOT.sub(lambda slot: texts[slot[1]], page)  # one pass: a text may look like a slot
    return Answer(
        code,
        (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
        ),
        page.encode(),
    )


def _with(answer: Answer, *headers: tuple[str, str]) -> Answer:
    return Answer(answer.status, (*answer.headers, *headers), answer.body)


# --- where a waiting page goes


def safe_target(to: str) -> str | None:
    """A path (with query) on the same host, or None if following it could lead elsewhere.

    Browsers read `\\` as `/`, and drop tabs and line ends (WHATWG URL): neither may occur.
    """
    if not to.startswith("/") or to.startswith("//") or "\\" in to or "#" in to:
        return None
    if not all("!" <= char <= "~" for char in to):
        return None
    return "/" if to.startswith(OURS) else to


def wait_link(to: str) -> str:
    """The address of the page that waits for `to` without JavaScript."""
    return f"{WAIT}?to={quote(to, safe='/')}"


# --- the waiting page


def label(app: App) -> str:
    """The app's name as people know it."""
    return app.policy.display_name or app.app_name


def step(app: App) -> tuple[str, str]:
    """Which step of waking the app is in, with a sentence about it."""
    match app.phase:
        case Phase.STARTING:
            return "starting", "Its processes are being started."
        case Phase.AWAKE | Phase.DRAINING | Phase.UNMANAGED:
            return "starting", "It runs; waiting for its first answer."
        case Phase.STOPPING:
            return "asked", "It is just falling asleep and will be started right after that."
        case _:
            return "asked", "The start has been asked for."


def waiting_page(app: App, *, to: str, since: float) -> Answer:
    """The page for a visitor who waits for `to`, a safe target; `since` seconds already."""
    usual = None if app.usual_boot is None else max(1, math.ceil(app.usual_boot.total_seconds()))
    name, now = step(app)
    page = _filled(
        _WAITING,
        app.policy.wake.page_status,
        app=html.escape(label(app)),
        to=html.escape(to),
        wait=html.escape(wait_link(to)),
        usual="" if usual is None else str(usual),
        usually="" if usual is None else f"Usually ready within {usual} s",
        since=f"{since:.0f}",
        now=html.escape(now),
        asked="at" if name == "asked" else "done",
        starting="" if name == "asked" else "at",
    )
    return _with(page, ("Retry-After", str(usual or 5)), ("X-Paastis-State", "waking"))


def event(kind: str, data: Mapping[str, str]) -> bytes:
    """One server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


# --- refusals


def sentence(reason: Reason) -> str:
    """What visitors are told about a reason."""
    return SENTENCES.get(reason, _PLAIN)


def refusal(
    status: int,
    reason: Reason | None,
    *,
    browser: bool,
    retry_after: int | None = None,
    text: str | None = None,
    again: str | None = None,
) -> Answer:
    """An honest "no": a short page for browsers, problem+json (RFC 9457) for programs.

    `again` is a safe target for a button that tries again, on pages.
    """
    title = TITLES.get(status, "This did not work")
    told = text or (sentence(reason) if reason is not None else _PLAIN)
    if browser:
        button = (
            f'<p><a class="button" href="{html.escape(again)}">Try again</a></p>\n'
            if again is not None
            else ""
        )
        answer = _filled(
            _MESSAGE,
            status,
            title=title,
            text=html.escape(told),
            button=button,
            status=str(status),
            reason=reason or "BadRequest",
        )
    else:
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": told,
            "reason": reason or "BadRequest",
        }
        answer = Answer(
            status,
            (("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")),
            json.dumps(problem).encode() + b"\n",
        )
    if retry_after is not None:
        answer = _with(answer, ("Retry-After", str(retry_after)))
    return answer


# --- the list of apps


def list_page(
    apps: Sequence[App], *, address: Callable[[App], str | None], now: datetime
) -> Answer:
    """All apps with their state and addresses."""
    shown = sorted((app for app in apps if app.phase is not Phase.GONE), key=label)
    asleep = sum(app.phase is Phase.ASLEEP for app in shown)
    rows = "".join(_row(app, address(app), now) for app in shown[:_LISTED])
    more = len(shown) - _LISTED
    count = f"{len(shown)} app" if len(shown) == 1 else f"{len(shown)} apps"
    return _filled(
        _LIST,
        200,
        summary=f"paastis knows {count}; {asleep} asleep." if shown else "No app was found yet.",
        more=f"<p>… and {more} more.</p>\n" if more > 0 else "",
        rows=rows,
    )


def _row(app: App, address: str | None, now: datetime) -> str:
    link = "" if address is None else html.escape(address)
    return (
        f"<tr><td>{html.escape(label(app))}</td>"
        f'<td><span class="state {app.phase}">{app.phase}</span></td>'
        f"<td>{_ago(app.last_access_time, now)}</td>"
        f'<td><a href="{link}">{link}</a></td></tr>\n'
    )


def _ago(when: datetime | None, now: datetime) -> str:
    if when is None:
        return "never"
    seconds = max(0, int((now - when).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
