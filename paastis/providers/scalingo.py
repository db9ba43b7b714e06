"""Scalingo: sleep is every process type scaled to 0, wake is one scale call with what was saved.

Calls name apps by their id, never by name: a new app that took over a name is left alone, and a
renamed one is found. Looking is in `scalingo_reads.py`. Facts are from Scalingo's API reference and
its own clients.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import quote, urlsplit

from paastis.app import Formation, Process, Snapshot
from paastis.config import AccountConfig
from paastis.config.values import is_loopback, url
from paastis.errors import AnswerLost, ConfigError, NotFound, Rejected
from paastis.providers import scalingo_answers as answers
from paastis.providers.budget import Budget
from paastis.providers.http import Answer, ProviderHttp, Transport
from paastis.providers.port import (
    BudgetState,
    CallMeter,
    Followed,
    Inspection,
    Limits,
    Listing,
    OpenOperation,
    Provider,
    Receipt,
    Remote,
    Urgency,
    Verdict,
)
from paastis.providers.scalingo_reads import ScalingoReads
from paastis.providers.scalingo_session import AUTH_URL, CHANGE_TIMEOUT, Regions, Session
from paastis.secret import Secret

_log = logging.getLogger(__name__)


CALLS_PER_MINUTE = 50
"""Of the 60 that Scalingo allows, so that people and their tools have some left."""
_OPERATION_TIMEOUT = timedelta(minutes=5)
_VISIBILITY = timedelta(seconds=20)


class Scalingo:
    """One Scalingo account. See `paastis.providers.port.Provider` for the methods.

    `token` is the API token (`tk-us-…`). `regions` are names, none for the one Scalingo marks as
    default. `api_url` and `auth_url` are given without `/v1`. Raises ValueError for an address that a
    credential must not be sent to.
    """

    def __init__(
        self,
        *,
        account: str,
        token: Secret,
        now: Callable[[], datetime],
        regions: tuple[str, ...] = (),
        api_url: str | None = None,
        auth_url: str | None = None,
        operation_timeout: timedelta | None = None,
        calls_per_minute: int = CALLS_PER_MINUTE,
        allow_insecure: bool = False,
        transport: Transport | None = None,
        on_call: CallMeter | None = None,
        budget: Budget | None = None,
    ) -> None:
        check = url(insecure=allow_insecure)
        auth_url = check(auth_url or AUTH_URL)
        self._account = account
        self._auth_url = auth_url
        self._now = now
        self._budget = budget or Budget(calls_per_minute)
        self._http = ProviderHttp(
            "Scalingo",
            budget=self._budget,
            now=now,
            refusal=answers.refusal,
            secrets=(token,),
            transport=transport,
            on_call=on_call,
        )
        self._session = Session(self._http, self._budget, token=token, auth_url=auth_url, now=now)
        self._regions = Regions(
            self._session,
            auth_url=auth_url,
            api_url=check(api_url) if api_url else None,
            configured=regions,
            allow_insecure=allow_insecure,
            now=now,
        )
        self._reads = ScalingoReads(self._session, self._regions, now=now)
        self._limits = Limits(
            operations=3,
            visibility=_VISIBILITY,
            operation_timeout=operation_timeout or _OPERATION_TIMEOUT,
            call_timeout=timedelta(seconds=CHANGE_TIMEOUT),
            follow_every=_follow_every(calls_per_minute),
            reports_traffic=True,
            listing_tells_state=True,
        )

    @classmethod
    def from_config(
        cls,
        account: AccountConfig,
        *,
        now: Callable[[], datetime],
        on_call: CallMeter | None = None,
        before: Provider | None = None,
    ) -> Self:
        """The adapter for a configured account. Raises ConfigError without the API token."""
        token = account.credentials.get("api_token")
        if not token:
            raise ConfigError(f"account {account.name!r}: Scalingo needs an API token")
        given = [urlsplit(address) for address in account.urls.values()]
        calls = account.calls_per_minute or CALLS_PER_MINUTE
        budget: Budget | None = None
        if isinstance(before, Scalingo) and before.budget().per_minute == calls:
            budget = before._budget
        return cls(
            account=account.name,
            token=token,
            now=now,
            on_call=on_call,
            regions=account.regions,
            api_url=account.urls.get("api"),
            auth_url=account.urls.get("auth"),
            operation_timeout=account.operation_timeout,
            calls_per_minute=calls,
            budget=budget,
            # The configuration lets such an address through only where a person allowed it.
            allow_insecure=any(
                parts.scheme == "http" and not is_loopback(parts.hostname or "") for parts in given
            ),
        )

    def __repr__(self) -> str:
        return f"Scalingo(account={self._account!r})"

    @staticmethod
    def stopped_verdict(status: int, headers: Mapping[str, str]) -> Verdict:
        """What an answer from an app's address says. Scalingo's front marks its 503 page by nothing.

        So a 503 of that form, an HTML page or nothing stated, may be the front's or the app's own:
        never more than MAYBE. Anything else came from the app, or says nothing about it being stopped.
        """
        if status != 503:
            return Verdict.NO
        kinds = [value for name, value in headers.items() if name.lower() == "content-type"]
        page = all(kind.split(";")[0].strip().lower() == "text/html" for kind in kinds)
        return Verdict.MAYBE if page else Verdict.NO

    @property
    def limits(self) -> Limits:
        """What Scalingo bears."""
        return self._limits

    def budget(self) -> BudgetState:
        """Calls of the account."""
        return self._budget.state(self._now())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def check(self) -> str:
        """Who the token belongs to. Raises Rejected if a configured region is not known."""
        answer = await self._session.read(
            f"{self._auth_url}/v1/users/self", urgency=Urgency.SCHEDULED
        )
        holder = answers.account_holder(answer.data)
        for region in await self._regions.wanted(urgency=Urgency.SCHEDULED):
            await self._regions.address(region, urgency=Urgency.SCHEDULED)
        return holder

    async def list_apps(self) -> Listing:
        """All regions at once, one call each. Raises the first error if every region failed."""
        return await self._reads.list_apps()

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        """Two or three calls; with `autoscaled`, as before a stop, two more."""
        return await self._reads.inspect(app, urgency=urgency, autoscaled=autoscaled)

    async def follow(self, operations: Sequence[OpenOperation]) -> Mapping[str, Followed]:
        """One call per region while all are at it, and one for each operation's end."""
        return await self._reads.follow(operations)

    async def direct_traffic(self, app: Remote, since: datetime) -> datetime | None:
        """From the router's statistics, which reach back 72 hours at most."""
        return await self._reads.direct_traffic(app, since)

    async def last_formation(self, app: Remote) -> Formation | None:
        """From the app's events, the newest 250 of them."""
        return await self._reads.last_formation(app)

    async def stop(self, app: Remote, formation: Formation) -> Receipt:
        """One scale call. Types at 0 are left out: naming them may be refused as no change.

        Raises Busy while the app has an operation or a deployment in progress.
        """
        up = [Process(process.type, 0) for process in formation if process.amount > 0]
        if not up:
            return Receipt(None)
        receipt, _ = await self._scale(app, up, urgency=Urgency.STOP)
        return receipt or Receipt(None)

    async def start(self, app: Remote, snapshot: Snapshot, *, urgency: Urgency) -> Receipt:
        """One scale call; a restart if nothing is to change and yet no web process lives.

        Raises Busy while the app has an operation or a deployment in progress: that may last longer
        than a call shall, so asking again is the caller's.
        """
        wanted = [process for process in snapshot.processes if process.amount > 0]
        receipt, left = await self._scale(app, wanted, urgency=urgency)
        if not left:
            raise Rejected(f"{app.app_name}: none of the processes to start exists any more")
        return receipt or await self._revive(app, left, urgency=urgency)

    async def _revive(self, app: Remote, wanted: list[Process], *, urgency: Urgency) -> Receipt:
        address = await self._reads.address_of(app, urgency=urgency)
        answer = await self._session.read(f"{address}/ps", urgency=urgency)
        alive = {
            kind
            for kind, state in answers.processes(answer.data)
            if state in ("running", "booting")
        }
        if "web" in alive:
            return Receipt(None)
        dead = [process.type for process in wanted if process.type not in alive]
        restarted = await self._session.change(
            "POST", f"{address}/restart", {"scope": dead}, urgency=urgency
        )
        return _receipt(restarted)

    async def _scale(
        self, app: Remote, wanted: list[Process], *, urgency: Urgency
    ) -> tuple[Receipt | None, list[Process]]:
        """The receipt, None if nothing was to change; and which types there still are."""
        address = await self._reads.address_of(app, urgency=urgency)
        try:
            return await self._send_scale(address, wanted, urgency=urgency), wanted
        except answers.TypeGone as gone:
            # The answer does not tell which type a new Procfile lacks, so the formation is read.
            answer = await self._session.read(f"{address}/containers", urgency=urgency)
            known = {process.type for process in answers.formation(answer.data)}
            left = [process for process in wanted if process.type in known]
            if len(left) == len(wanted):
                raise Rejected(str(gone)) from None
        return await self._send_scale(address, left, urgency=urgency), left

    async def _send_scale(
        self, address: str, wanted: list[Process], *, urgency: Urgency
    ) -> Receipt | None:
        if not wanted:
            return None
        items = [
            {"name": process.type, "amount": process.amount}
            | ({} if process.size is None else {"size": process.size})
            for process in wanted
        ]
        try:
            answer = await self._session.change(
                "POST", f"{address}/scale", {"containers": items}, urgency=urgency
            )
        except answers.NoChange:
            return None
        return _receipt(answer)

    async def enable_autoscalers(
        self, app: Remote, ids: Sequence[str], *, urgency: Urgency
    ) -> None:
        """One call each. Raises NotFound if the app itself is gone."""
        address = await self._reads.address_of(app, urgency=urgency)
        for scaler in ids:
            try:
                await self._session.change(
                    "PATCH",
                    f"{address}/autoscalers/{quote(scaler, safe='')}",
                    {"autoscaler": {"disabled": False}},
                    urgency=urgency,
                )
            except answers.AppGone:
                raise
            except NotFound:
                _log.info("autoscaler %s of %s is gone", scaler, app.app_name)


def _follow_every(calls_per_minute: int) -> timedelta:
    """A look every 5 s at the default budget: never more than about a quarter of what there is."""
    return max(timedelta(seconds=0.2), timedelta(seconds=5) * CALLS_PER_MINUTE / calls_per_minute)


def _receipt(answer: Answer) -> Receipt:
    location = answer.headers.get("location")
    if location is None and answer.status != 202:
        return Receipt(
            None
        )  # a never deployed app: stored, and nothing runs that could be followed
    ref = answers.operation_id(location or "")
    if ref is None:
        raise AnswerLost("Scalingo accepted the call but named no operation to follow")
    return Receipt(ref)
