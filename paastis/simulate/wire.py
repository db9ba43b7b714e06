"""Reading requests and writing answers the way Scalingo's API does."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Sequence

_PER_PAGE = 20
_MOST_PER_PAGE = 100


class ApiRefusal(Exception):
    """An answer other than 2xx: its status and the keys of its JSON."""

    def __init__(self, status: int, **keys: object) -> None:
        super().__init__(status)
        self.status = status
        self.keys = keys

    def answer(self) -> web.Response:
        """The answer to send."""
        return web.json_response(
            self.keys, status=self.status, headers={"Cache-Control": "no-cache"}
        )


def answer(data: object) -> web.Response:
    """200 to a read."""
    body = json.dumps(data).encode()
    return web.Response(
        body=body,
        content_type="application/json",
        headers={
            "ETag": f'W/"{zlib.crc32(body):08x}"',
            "Cache-Control": "max-age=0, private, must-revalidate",
        },
    )


def written(data: object, *, status: int = 200, location: str | None = None) -> web.Response:
    """The answer to a write."""
    response = web.json_response(data, status=status, headers={"Cache-Control": "no-cache"})
    if location is not None:
        response.headers["Location"] = location
    return response


async def json_body(request: web.Request) -> dict[str, object]:
    """The body as an object; an empty one is an empty object. Refuses anything else with 400."""
    text = await request.text()
    if not text.strip():
        return {}
    try:
        data = json.loads(text)
    except ValueError:
        raise ApiRefusal(400, error="invalid JSON") from None
    if not isinstance(data, dict):
        raise ApiRefusal(400, error="invalid JSON: an object is expected")
    return data


def number(request: web.Request, name: str, *, default: int, lowest: int, most: int) -> int:
    """A whole number from the query, held within its limits; nonsense is the default."""
    given = request.query.get(name, "")
    if not given.isascii() or not given.isdigit():
        return default
    return min(max(int(given[:9]), lowest), most)


def page(request: web.Request, key: str, items: Sequence[object]) -> dict[str, object]:
    """One page of a list, with where it stands among the others."""
    size = number(request, "per_page", default=_PER_PAGE, lowest=1, most=_MOST_PER_PAGE)
    current = number(request, "page", default=1, lowest=1, most=1_000_000)
    total = max(1, -(-len(items) // size))
    return {
        key: items[(current - 1) * size : current * size],
        "meta": {
            "pagination": {
                "current_page": current,
                "next_page": current + 1 if current < total else None,
                "prev_page": current - 1 if current > 1 else None,
                "total_pages": total,
                "total_count": len(items),
            }
        },
    }
