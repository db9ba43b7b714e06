"""Who we are at Scalingo: the bearer token, when it is bought anew, and where the regions are.

An API token is exchanged for a bearer that lives for an hour and is good in every region. However
many calls find it missing or about to end, one exchange serves them all. A refused bearer is thrown
away and replaced once; refused again, it is the account's fault.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from paastis.config.values import url
from paastis.errors import Busy, NotFound, ProviderError, Rejected, Unauthorized, Unavailable
from paastis.providers import scalingo_answers as answers
from paastis.providers.budget import Budget, Slot
from paastis.providers.http import Answer, Call, ProviderHttp, repeated
from paastis.providers.port import Urgency
from paastis.secret import Secret

_log = logging.getLogger(__name__)

AUTH_URL = "https://auth.scalingo.com"
READ_TIMEOUT = 10.0
CHANGE_TIMEOUT = 4.0
"""Seconds for one read, and for one call that changes something with its wait for a slot."""
_CHANGE_WAIT = 1.0  # seconds that a changing call waits for a slot, so that three are left for it
_PATIENCE = {
    Urgency.VISITOR: 15.0,
    Urgency.SCHEDULED: 60.0,
    Urgency.STOP: 60.0,
    Urgency.DISCOVERY: 120.0,
}
"""Seconds for a read with its waits for slots and its repetitions."""
_MARGIN = timedelta(minutes=5)
_LIFETIME = timedelta(hours=1)
_REGIONS_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class _Bearer:
    authorization: Secret
    renew_at: datetime


class Session:
    """Sends calls of one account, with a valid bearer."""

    def __init__(
        self,
        http: ProviderHttp,
        budget: Budget,
        *,
        token: Secret,
        auth_url: str,
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._budget = budget
        self._auth_url = auth_url
        self._now = now
        basic = base64.b64encode(f":{token.reveal()}".encode()).decode("ascii")
        self._basic = Secret(f"Basic {basic}")
        self._bearer: _Bearer | None = None
        self._exchanging = asyncio.Lock()
        self._exchanges = 0
        self._failure: ProviderError | None = None
        """How the latest exchange failed, if it did."""

    async def read(
        self,
        url: str,
        *,
        urgency: Urgency,
        query: Mapping[str, str] | None = None,
        keep: frozenset[str] | None = None,
    ) -> Answer:
        """GET, repeated while Scalingo is unavailable, within the patience of the urgency.

        `keep`: the members that are wanted of a long list's objects, see `Call`.
        """
        deadline = self._budget.time() + _PATIENCE[urgency]

        def call(authorization: Secret) -> Call:
            return Call(
                method="GET",
                url=url,
                query=query or {},
                urgency=urgency,
                authorization=authorization,
                keep=keep,
                timeout=max(min(READ_TIMEOUT, deadline - self._budget.time()), 0.1),
                deadline=deadline,
            )

        async def once() -> Answer:
            return await self._authorized(call, urgency, deadline)

        return await repeated(once, seconds=_PATIENCE[urgency])

    async def change(self, method: str, url: str, body: object, *, urgency: Urgency) -> Answer:
        """Send something that changes an app; never repeated unless it certainly had no effect."""
        # A slow exchange takes nothing from the call's own time; the call is what may be fenced.
        exchange_by = self._budget.time() + READ_TIMEOUT

        def call(authorization: Secret) -> Call:
            return Call(
                method=method,
                url=url,
                body=body,
                urgency=urgency,
                authorization=authorization,
                changing=True,
                timeout=CHANGE_TIMEOUT - _CHANGE_WAIT,
                deadline=self._budget.time() + _CHANGE_WAIT,
            )

        return await self._authorized(call, urgency, exchange_by)

    async def _authorized(
        self, call: Callable[[Secret], Call], urgency: Urgency, deadline: float
    ) -> Answer:
        bearer = await self._valid_bearer(urgency, deadline)
        try:
            return await self._http.send(call(bearer.authorization))
        except Unauthorized:
            if self._bearer is bearer:
                self._bearer = None
        return await self._http.send(
            call((await self._valid_bearer(urgency, deadline)).authorization)
        )

    async def _valid_bearer(self, urgency: Urgency, deadline: float) -> _Bearer:
        if (bearer := self._current()) is not None:
            return bearer
        seen = self._exchanges
        # The slot is taken before the lock: otherwise a visitor would wait behind the exchange of
        # somebody less urgent, who waits for a slot.
        async with self._budget.slot(urgency, deadline=deadline) as slot:
            try:
                async with asyncio.timeout(max(deadline - self._budget.time(), 0.1)):
                    await self._exchanging.acquire()
            except TimeoutError:
                raise Unavailable("Scalingo: the token exchange takes too long") from None
            try:
                if (bearer := self._current()) is not None:
                    return bearer
                if self._exchanges != seen and self._failure is not None:
                    raise self._failure  # all who waited for that exchange share its outcome
                return await self._exchange(slot, urgency, deadline)
            finally:
                self._exchanging.release()

    def _current(self) -> _Bearer | None:
        bearer = self._bearer
        return bearer if bearer is not None and self._now() < bearer.renew_at else None

    async def _exchange(self, slot: Slot, urgency: Urgency, deadline: float) -> _Bearer:
        """Buy a new bearer. Raises Unauthorized if the API token is refused."""
        call = Call(
            method="POST",
            url=f"{self._auth_url}/v1/tokens/exchange",
            body={},
            urgency=urgency,
            authorization=self._basic,
            timeout=max(min(READ_TIMEOUT, deadline - self._budget.time()), 0.1),
            deadline=deadline,
        )
        self._failure = None
        try:
            answer = await self._http.send_in(slot, call)
            token = answers.bearer(answer.data)
        except (NotFound, Busy, Rejected) as refused:
            # It was about the token, whatever the status; above all it says nothing about an app.
            self._failure = Unauthorized(str(refused))
            raise self._failure from None
        except ProviderError as failed:
            self._failure = failed
            raise
        finally:
            self._exchanges += 1
        self._bearer = _Bearer(Secret(f"Bearer {token}"), _renewal(token, answer.sent_at))
        return self._bearer


def _renewal(token: str, bought_at: datetime) -> datetime:
    """When to buy the next one: the margin before the end, for short-lived ones half their life.

    The lifetime is counted on our own clock, so that a wrong one does not have us buy without end.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        claims = {}
    end, start = claims.get("exp"), claims.get("iat", bought_at.timestamp())
    lifetime = _LIFETIME
    if isinstance(end, int | float) and isinstance(start, int | float) and 0 < end - start < 1e6:
        lifetime = timedelta(seconds=end - start)
    return bought_at + lifetime - min(_MARGIN, lifetime / 2)


class Regions:
    """Where each region's API is. Scalingo's own list is read with a bearer, else some are hidden.

    `configured` are the wanted ones, none for the one marked default. `api_url` replaces the address
    of one of them: the default one, or the first where the default is not wanted.
    """

    def __init__(
        self,
        session: Session,
        *,
        auth_url: str,
        api_url: str | None,
        configured: tuple[str, ...],
        allow_insecure: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._auth_url = auth_url
        self._api_url = api_url
        self._configured = configured
        self._check = url(insecure=allow_insecure)
        self._now = now
        self._addresses: dict[str, str] = {}
        self._wanted: tuple[str, ...] = ()
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()
        if api_url is not None and len(configured) == 1:
            self._know({configured[0]: api_url}, configured)

    async def wanted(self, *, urgency: Urgency) -> tuple[str, ...]:
        """Names of the regions to look after; the list is read again when it is ten minutes old.

        Raises ProviderError if it was never read and cannot be.
        """
        if self._api_url is not None and len(self._configured) == 1:
            return self._wanted
        async with self._reading:
            fresh_from = self._now() - _REGIONS_LIFETIME
            if self._read_at is None or self._read_at < fresh_from:
                try:
                    await self._read(urgency)
                except Unavailable as failed:
                    # Regions hardly ever move: those known serve until the list can be read.
                    if not self._wanted:
                        raise
                    _log.warning("the list of regions could not be read again: %s", failed)
        return self._wanted

    async def address(self, region: str, *, urgency: Urgency) -> str:
        """The API's address, without `/v1`. Raises Rejected for a region that is not known."""
        if region not in self._addresses:
            # Known ones are not read again here: a visitor's wake shall not pay for that.
            await self.wanted(urgency=urgency)
        try:
            return self._addresses[region]
        except KeyError:
            known = ", ".join(sorted(self._addresses)) or "none"
            raise Rejected(
                f"the Scalingo region {region!r} is not known; the account sees: {known}"
            ) from None

    async def _read(self, urgency: Urgency) -> None:
        answer = await self._session.read(f"{self._auth_url}/v1/regions", urgency=urgency)
        found = answers.regions(answer.data)
        default = next((region.name for region in found if region.default), None)
        wanted = self._configured or ((default,) if default else ())
        if not wanted:
            raise answers.Malformed("Scalingo marks no region as the default one")
        addresses = {}
        for region in found:
            try:
                addresses[region.name] = self._check(region.api)
            except ValueError as refused:
                _log.warning("region %s of Scalingo is left out: %s", region.name, refused)
        if self._api_url is not None:
            addresses[default if default in wanted and default else wanted[0]] = self._api_url
        self._know(addresses, wanted)
        self._read_at = self._now()

    def _know(self, addresses: dict[str, str], wanted: tuple[str, ...]) -> None:
        self._addresses, self._wanted = addresses, wanted
