"""One visitor's request while we have it: what it is, and the part of its body that is kept."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from proxy.headers import Arrival, Pairs

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""RFC 9110, section 9.2.2."""


class BodyStalled(Exception):
    """The visitor stopped sending in the middle of a body."""


class Body:
    """A request's body: streamed on, with its beginning kept as long as it is small."""

    def __init__(self, request: web.BaseRequest, *, keep: int, patience: float) -> None:
        self._request = request
        self._keep = keep
        self._patience = patience
        self._kept = bytearray()
        self._overflown = False
        self.stalled = False
        """The visitor stopped sending in the middle."""
        self._ended = not request.body_exists
        self._continue = (
            request.body_exists
            and request.version >= (1, 1)
            and request.headers.get("Expect", "").lower() == "100-continue"
        )

    @property
    def exists(self) -> bool:
        """Whether there is one at all."""
        return self._request.body_exists

    @property
    def small(self) -> bool:
        """Whether it is known to stay replayable."""
        length = self._request.content_length
        return self._ended or (length is not None and length <= self._keep)

    @property
    def replayable(self) -> bool:
        """Whether everything that was read is kept, so that sending may begin anew."""
        return not self._overflown

    async def stream(self) -> AsyncIterator[bytes]:
        """The body from its beginning. Only while `replayable`; one reader at a time.

        Raises `BodyStalled`.
        """
        if self._kept:
            yield bytes(self._kept)
        if self._continue:
            # Asked for as late as possible: a refusal saves the visitor the upload.
            self._continue = False
            writer = self._request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0
        content = self._request.content
        while not self._ended:
            try:
                async with asyncio.timeout(self._patience):
                    chunk = await content.readany()
            except TimeoutError as error:
                self.stalled = True
                raise BodyStalled from error
            if not chunk:
                self._ended = True
                return
            if len(self._kept) + len(chunk) <= self._keep and not self._overflown:
                self._kept += chunk
            else:
                self._overflown = True
                self._kept.clear()
            yield chunk


@dataclass(slots=True, eq=False)
class Visit:
    """A request with what was found out about it."""

    request: web.BaseRequest
    method: str
    target: str
    """In origin form, byte for byte."""
    headers: Pairs
    arrival: Arrival
    address: str
    """Of the visitor, as far as we believe it."""
    request_id: str
    name: str
    """The app's record name."""
    navigation: bool
    upgrade: bool
    """It wants to switch to WebSocket."""
    body: Body
    origin_seen: str | None = None
    waited: float | None = None
    """Seconds it was held for a wake; None: it was not."""
    tries: int = field(default=0)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice does no harm and all of it is at hand."""
        return self.method in IDEMPOTENT and self.body.replayable
