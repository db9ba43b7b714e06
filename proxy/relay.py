"""Answers on their way to the visitor: the app's, and our own."""

import aiohttp
from aiohttp import hdrs, web

from proxy.headers import Pairs
from proxy.pages import Answer
from proxy.upstream import readable

_SENSELESS = (400, 405, 408, 508)


class Forwarded(web.StreamResponse):
    """An answer that keeps exactly the headers it was given.

    aiohttp would add Server and Content-Type, and take Content-Length from a 304.
    """

    def __init__(self, status: int, reason: str | None, headers: Pairs) -> None:
        super().__init__(status=status, reason=reason or "")
        for name, value in headers:
            self.headers.add(name, readable(value))

    async def _prepare_headers(self) -> None:
        given = {
            name: self.headers.get(name)
            for name in (hdrs.SERVER, hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
        }
        await super()._prepare_headers()
        for name, value in given.items():
            if value is None:
                self.headers.popall(name, None)
            elif self.status == 304:
                self.headers[name] = value


async def relay(
    request: web.BaseRequest,
    answer: aiohttp.ClientResponse,
    out: Forwarded,
) -> bool:
    """Stream an app's answer; False where the app broke off in the middle.

    Then the visitor's connection is cut, too: a clean end would be a lie.
    """
    await out.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await out.write(chunk)
    except aiohttp.ClientPayloadError:
        cut(request)
        return False
    except aiohttp.ClientConnectionResetError:
        return True  # the visitor left; his task is about to be cancelled
    except aiohttp.ClientError:
        cut(request)
        return False
    await out.write_eof()
    return True


def cut(request: web.BaseRequest) -> None:
    """End the visitor's connection without the end of the answer."""
    transport = request.transport
    if transport is not None:
        transport.abort()


async def send(request: web.BaseRequest, answer: Answer, *, request_id: str) -> web.StreamResponse:
    """Give an answer of ours. After a request that made no sense nothing more is read."""
    out = Forwarded(answer.status, None, list(answer.headers))
    out.headers["X-Request-Id"] = request_id
    out.content_length = len(answer.body)
    unread = request.body_exists and not request.content.at_eof()
    if unread or answer.status in _SENSELESS:
        out.force_close()
    writer = await out.prepare(request)
    if writer is not None and request.method != "HEAD" and answer.status not in (204, 304):
        await out.write(answer.body)
    await out.write_eof()
    return out
