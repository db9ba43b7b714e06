"""The made-up account's credentials: one API token that buys bearer tokens which expire."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING

import jwt

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from datetime import datetime, timedelta

_REMEMBERED = 10_000  # bearer tokens; far more than a test buys in an hour


class Tokens:
    """Sells bearer tokens for the API token, and tells good ones from bad ones."""

    def __init__(
        self,
        *,
        api_token: str,
        lifetime: timedelta,
        now: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._api_token = api_token
        self._lifetime = lifetime
        self._now = now
        self._rng = rng
        self._key = secrets.token_bytes(64)
        self._expiry: dict[str, float] = {}

    def exchange(self, authorization: str) -> str | None:
        """A new bearer token for `Basic base64(":" + API token)`, or None if that is wrong."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if user or not hmac.compare_digest(token.encode(), self._api_token.encode()):
            return None
        issued = self._now().timestamp()
        expires = issued + self._lifetime.total_seconds()
        bearer = jwt.encode(
            {
                "iss": "Scalingo",
                "iat": int(issued),
                "uuid": "us-simulated",
                "rnd": f"{self._rng.getrandbits(64):016x}",
                "exp": int(expires),
            },
            self._key,
            algorithm="HS512",
        )
        if len(self._expiry) >= _REMEMBERED:
            del self._expiry[next(iter(self._expiry))]
        self._expiry[bearer] = expires
        return bearer

    def accepts(self, authorization: str) -> bool:
        """Whether `Bearer <token>` was sold here and has not expired."""
        scheme, _, bearer = authorization.partition(" ")
        expires = self._expiry.get(bearer) if scheme.lower() == "bearer" else None
        return expires is not None and self._now().timestamp() < expires

    def expire_all(self) -> None:
        """Refuse every bearer token that was sold so far."""
        self._expiry.clear()
