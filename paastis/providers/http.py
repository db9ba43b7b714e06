"""The one HTTP client for providers, and what each way of failing means.

What matters after a failure is whether the call may have taken effect. A call that never left us
certainly had none (`Unavailable`). One that left and got no usable answer may have (`AnswerLost`, for
calls that change something). One that was refused had none (`Unauthorized`, `RateLimited`, or what the
adapter makes of the refusal). Only reads are ever repeated; each attempt takes a slot of the budget.

TLS is verified, redirects are not followed (they would carry credentials along), and neither
credentials nor query strings reach logs or errors.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import stamina

from paastis import __version__
from paastis.errors import (
    AnswerLost,
    ProviderError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from paastis.providers.budget import Budget, Slot
from paastis.providers.fence import check_fence
from paastis.providers.port import CallMeter, Urgency
from paastis.secret import Secret

Transport = httpx.AsyncBaseTransport
"""What tests may put in place of the network."""

_LARGEST_ANSWER = 16 * 1024 * 1024  # bytes; five hundred apps are half a megabyte
_LONGEST_WORDS = 300  # characters of the provider's own words in our errors
_ATTEMPTS = 3
_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
_SHORTEST_SECRET = 8  # shorter words ("Bearer", "Basic") are no secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to a provider."""

    method: str
    url: str
    """Without query."""
    urgency: Urgency
    query: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    """Sent as JSON; None sends nothing."""
    authorization: Secret | None = None
    keep: frozenset[str] | None = None
    """The members that are wanted of the answer's objects, if it is a long list; None: all of them.

    Ten thousand objects with all that is in them would be 30 MB. They are also read beside the loop.
    """
    changing: bool = False
    """Whether it may change something; then it is never repeated, and a lost answer matters."""
    timeout: float
    """Seconds from sending to the whole answer."""
    deadline: float
    """Until when it may wait for a slot of the budget, in the budget's seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    data: object
    """The body decoded from JSON; None: it was empty or is no JSON."""
    text: str
    """The start of the body, for people; no markup."""
    sent_at: datetime


Refusal = Callable[[Answer, str], ProviderError]
"""What an answer 3xx or 4xx means, given the words to tell people. 401 and 429 are never asked about."""


class ProviderHttp:
    """Sends calls within the budget and turns every outcome into an answer or a `ProviderError`.

    `name` is the provider as people know it. `secrets` are removed from the provider's words in
    addition to the credentials of the call itself.
    """

    def __init__(
        self,
        name: str,
        *,
        budget: Budget,
        now: Callable[[], datetime],
        refusal: Refusal,
        secrets: tuple[Secret, ...] = (),
        transport: Transport | None = None,
        on_call: CallMeter | None = None,
    ) -> None:
        self._name = name
        self._on_call = on_call
        self._budget = budget
        self._now = now
        self._refusal = refusal
        self._secrets = secrets
        # A transport of a test does not tell when it begins to write: then anything may have left.
        self._tells_nothing = transport is not None
        # httpx logs whole URLs, httpcore logs headers.
        for logger in ("httpx", "httpcore"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,  # no proxy or certificate bundle that our configuration does not name
            follow_redirects=False,
            headers={"Accept": "application/json", "User-Agent": f"paastis/{__version__}"},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, call: Call) -> Answer:
        """Send once and return an answer 2xx. Raises ProviderError as the module says."""
        async with self._budget.slot(call.urgency, deadline=call.deadline) as slot:
            return await self.send_in(slot, call)

    async def send_in(self, slot: Slot, call: Call) -> Answer:
        """As `send`, in a slot that the caller holds.

        A changing call raises `Fenced` where the right to act ended while it waited for its turn.
        """
        if self._client.is_closed:
            # The account was replaced or dropped while the call waited.
            raise Unavailable(f"{self._name}: the connections of this account are closed")
        if call.changing:
            check_fence(timedelta(seconds=call.timeout))
        slot.sent = True
        answer = await self._measured(call)
        if answer.status == httpx.codes.TOO_MANY_REQUESTS:
            wanted = _retry_after(answer.headers.get("retry-after", ""), self._now())
            # "In 0 s" would have us ask again in a circle: then it is as if nothing was said.
            silence = self._budget.too_many(slot, wanted or None)
            raise RateLimited(
                f"{self._name} answers that there were too many calls",
                retry_after=timedelta(seconds=silence),
            )
        self._budget.accepted(slot)
        return self._judge(call, answer)

    async def _measured(self, call: Call) -> Answer:
        clock = asyncio.get_running_loop().time
        began = clock()
        outcome = "lost"
        try:
            answer = await self._exchange(call, self._now())
        except Unavailable:
            outcome = "unreachable"
            raise
        else:
            outcome = str(answer.status)
            return answer
        finally:
            if self._on_call is not None:
                self._on_call(call.method, outcome, clock() - began)

    def _judge(self, call: Call, answer: Answer) -> Answer:
        status = answer.status
        if httpx.codes.is_success(status):
            if answer.data is None and answer.text:
                raise self._lost(call, f"answered {status} with something that is not JSON")
            return answer
        words = f"{self._name} answered {status} to {call.method} {_path(call.url)}"
        if said := self._clean(call, said_in(answer)):
            words = f"{words}: {said}"
        if status == httpx.codes.UNAUTHORIZED:
            raise Unauthorized(words)
        if httpx.codes.is_server_error(status) or status == httpx.codes.REQUEST_TIMEOUT:
            raise AnswerLost(words) if call.changing else Unavailable(words)
        raise self._refusal(answer, words)

    async def _exchange(self, call: Call, sent_at: datetime) -> Answer:
        left = self._tells_nothing

        async def trace(event: str, _info: object) -> None:
            nonlocal left
            left = left or event.endswith("send_request_headers.started")

        request = self._request(call, trace)
        try:
            async with (
                asyncio.timeout(call.timeout),
                contextlib.aclosing(await self._client.send(request, stream=True)) as response,
            ):
                return await _read(response, sent_at, keep=call.keep)
        except _NEVER_LEFT as broken:
            raise self._unreachable(call, str(broken)) from None
        except httpx.LocalProtocolError:
            # Its text may quote a header, so it is not passed on.
            raise Unavailable(f"{self._name}: the request cannot be written as HTTP") from None
        except _TooLarge:
            raise self._lost(call, "the answer is far too large") from None
        except TimeoutError:
            if not left:
                raise self._unreachable(call, f"no connection in {call.timeout:g} s") from None
            raise self._lost(call, f"no answer in {call.timeout:g} s") from None
        except httpx.HTTPError as broken:
            if not left:
                raise self._unreachable(call, str(broken)) from None
            raise self._lost(call, str(broken) or type(broken).__name__) from None

    def _request(
        self, call: Call, trace: Callable[[str, object], Awaitable[None]]
    ) -> httpx.Request:
        url = httpx.URL(call.url)
        headers = {}
        extensions: dict[str, object] = {"trace": trace}
        if url.host.endswith(".localhost"):
            # Not every C library knows these names (RFC 6761 section 6.3).
            headers["Host"] = url.netloc.decode("ascii")
            extensions["sni_hostname"] = url.host
            url = url.copy_with(host="127.0.0.1")
        if call.authorization is not None:
            headers["Authorization"] = call.authorization.reveal()
        return self._client.build_request(
            call.method,
            url,
            params=dict(call.query) or None,
            json=call.body,
            headers=headers,
            # Less than the whole, so that a connection that does not stand is known as that, and closed.
            timeout=httpx.Timeout(None, connect=0.9 * call.timeout),
            extensions=extensions,
        )

    def _unreachable(self, call: Call, detail: str) -> Unavailable:
        why = self._clean(call, detail) or "no reason given"
        return Unavailable(f"{self._name} cannot be reached at {_origin(call.url)}: {why}")

    def _lost(self, call: Call, detail: str) -> AnswerLost | Unavailable:
        words = f"{self._name}: {call.method} {_path(call.url)}: {self._clean(call, detail)}"
        return AnswerLost(words) if call.changing else Unavailable(words)

    def _clean(self, call: Call, words: str) -> str:
        """Words from outside: one line, not too long, without our secrets."""
        own = () if call.authorization is None else (call.authorization,)
        for secret in (*self._secrets, *own):
            for part in secret.reveal().split():
                if len(part) >= _SHORTEST_SECRET:
                    words = words.replace(part, "***")
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
        return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}…"


async def repeated(
    read: Callable[[], Awaitable[Answer]], *, seconds: float, attempts: int = _ATTEMPTS
) -> Answer:
    """Do a read again while the provider is unavailable: `attempts` in all, none after `seconds`."""
    # Without arguments: stamina logs them.
    async for attempt in stamina.retry_context(
        on=Unavailable,
        attempts=attempts,
        timeout=seconds,
        wait_initial=0.2,
        wait_max=2.0,
        wait_jitter=0.3,
    ):
        with attempt:
            return await read()
    raise AssertionError("a retry ends with an answer or an error")


def said_in(answer: Answer) -> str:
    """The provider's own words in an answer that refuses, as JSON error or as text."""
    if isinstance(answer.data, Mapping):
        known = [answer.data[key] for key in ("error", "errors", "message") if key in answer.data]
        return "; ".join(_sentence(words) for words in known if words)
    return answer.text


def _sentence(words: object) -> str:
    if isinstance(words, Mapping):
        return "; ".join(f"{key}: {_sentence(value)}" for key, value in words.items())
    if isinstance(words, list):
        return ", ".join(_sentence(value) for value in words)
    return str(words)


async def _read(
    response: httpx.Response, sent_at: datetime, *, keep: frozenset[str] | None
) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise _TooLarge
    text = body.decode("utf-8", errors="replace").strip()
    del body
    if keep is not None and response.is_success:
        data = await asyncio.to_thread(_parsed, text, keep)
    else:
        data = _parsed(text, None)
    shown = "" if "<" in text[:1000] else text
    return Answer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        data=data,
        text=shown[:_LONGEST_WORDS] or ("(a page of markup)" if text else ""),
        sent_at=sent_at,
    )


def _parsed(text: str, keep: frozenset[str] | None) -> object:
    """The JSON, or None where it is none."""

    def kept(found: dict[str, object]) -> dict[str, object]:
        return {key: value for key, value in found.items() if keep is None or key in keep}

    try:
        return json.loads(text, object_hook=None if keep is None else kept) if text else None
    except (ValueError, RecursionError):
        return None


class _TooLarge(Exception):
    pass


def _retry_after(given: str, now: datetime) -> float | None:
    """Seconds to be silent (RFC 9110 section 10.2.3), or None where nothing usable is given."""
    if re.fullmatch(r"\d{1,9}", given.strip(), re.ASCII):
        return float(given)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)


def _origin(url: str) -> str:
    return httpx.URL(url).copy_with(raw_path=b"/").__str__().rstrip("/")


def _path(url: str) -> str:
    return httpx.URL(url).path
