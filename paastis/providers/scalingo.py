"""Scalingo: sleep is every process type scaled to 0, wake is one scale call with what was saved.

Calls name apps by their id, never by name: a new app that took over a name is left alone, and a
renamed one is found. State is computed from the formation and the live containers; the app's own
status word mixes all process types. Facts are from Scalingo's API reference and its own clients.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

from paastis.app import Formation, Observation, Process, Snapshot
from paastis.config import AccountConfig
from paastis.errors import AnswerLost, ConfigError, NotFound, ProviderError, Rejected
from paastis.providers import scalingo_answers as answers
from paastis.providers.budget import Budget
from paastis.providers.http import Answer, ProviderHttp, Transport
from paastis.providers.port import (
    BudgetState,
    Followed,
    Inspection,
    Limits,
    Listing,
    OpenOperation,
    Progress,
    Receipt,
    Remote,
    RemoteApp,
    Urgency,
    Verdict,
)
from paastis.providers.scalingo_session import AUTH_URL, CHANGE_TIMEOUT, Regions, Session
from paastis.reasons import Reason
from paastis.secret import Secret
from paastis.values import is_loopback, url

_log = logging.getLogger(__name__)

T = TypeVar("T")

CALLS_PER_MINUTE = 50
"""Of the 60 that Scalingo allows, so that people and their tools have some left."""
_OPERATION_TIMEOUT = timedelta(minutes=5)
_VISIBILITY = timedelta(seconds=20)
_STATISTICS_HOURS = 72  # the longest look back that Scalingo's statistics offer
_EVENT_PAGES = 5
_EVENTS_A_PAGE = 50


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
    ) -> None:
        check = url(insecure=allow_insecure)
        auth_url = check(auth_url or AUTH_URL)
        self._account = account
        self._auth_url = auth_url
        self._now = now
        self._budget = Budget(calls_per_minute)
        self._http = ProviderHttp(
            "Scalingo",
            budget=self._budget,
            now=now,
            refusal=answers.refusal,
            secrets=(token,),
            transport=transport,
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
        self._limits = Limits(
            operations=3,
            visibility=_VISIBILITY,
            operation_timeout=operation_timeout or _OPERATION_TIMEOUT,
            call_timeout=timedelta(seconds=CHANGE_TIMEOUT),
            follow_every=timedelta(seconds=5),
            reports_traffic=True,
            listing_tells_state=True,
        )

    @classmethod
    def from_config(cls, account: AccountConfig, *, now: Callable[[], datetime]) -> Self:
        """The adapter for a configured account. Raises ConfigError without the API token."""
        token = account.credentials.get("api_token")
        if not token:
            raise ConfigError(f"account {account.name!r}: Scalingo needs an API token")
        given = [urlsplit(address) for address in account.urls.values()]
        return cls(
            account=account.name,
            token=token,
            now=now,
            regions=account.regions,
            api_url=account.urls.get("api"),
            auth_url=account.urls.get("auth"),
            operation_timeout=account.operation_timeout,
            calls_per_minute=account.calls_per_minute or CALLS_PER_MINUTE,
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

        So a 503 of that form, an HTML page, may be the front's or the app's own: never more than
        MAYBE. Anything else came from the app, or says nothing about it being stopped.
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

    # --- looking -----------------------------------------------------------------------------

    async def list_apps(self) -> Listing:
        """All regions at once, one call each. Raises the first error if every region failed."""
        regions = await self._regions.wanted(urgency=Urgency.DISCOVERY)
        results = await _all([self._list_region(region) for region in regions])
        found: list[RemoteApp] = []
        problems: list[str] = []
        sent = []
        for region, result in zip(regions, results, strict=True):
            if isinstance(result, ProviderError):
                problems.append(f"region {region}: {result}")
                continue
            answer, (apps, unreadable) = result
            sent.append(answer.sent_at)
            problems += [f"region {region}: {problem}" for problem in unreadable]
            found += [_listed(region, app) for app in apps]
        if not sent:
            raise next(result for result in results if isinstance(result, ProviderError))
        return Listing(
            apps=tuple(found),
            sent_at=min(sent),
            complete=not problems,
            problems=tuple(problems),
        )

    async def _list_region(
        self, region: str
    ) -> tuple[Answer, tuple[list[answers.AppAnswer], list[str]]]:
        api = await self._regions.address(region, urgency=Urgency.DISCOVERY)
        answer = await self._session.read(f"{api}/v1/apps", urgency=Urgency.DISCOVERY)
        return answer, answers.apps(answer.data)

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        """Two or three calls; with `autoscaled`, as before a stop, two more.

        Those tell the autoscalers, and whether a deployment is being built: the app's status does
        not show that before the new version starts.
        """
        address = await self._address(app, urgency=urgency)
        asked_at = self._now()
        paths = ["", "/containers", *(("/autoscalers", "/deployments") if autoscaled else ())]
        query = {"/deployments": {"page": "1", "per_page": "1"}}
        results = await _all(
            [
                self._session.read(f"{address}{path}", urgency=urgency, query=query.get(path))
                for path in paths
            ]
        )
        if any(isinstance(result, answers.AppGone) for result in results):
            return Inspection(state=Observation.MISSING, formation=(), sent_at=asked_at)
        read = [_value(result) for result in results]
        one = answers.app(read[0].data)
        formation = answers.formation(read[1].data)
        changing = one.status in answers.CHANGING
        wants_web = any(process.type == "web" and process.amount for process in formation)
        live = []
        if one.status != "new" and (wants_web or changing):
            processes = await self._session.read(f"{address}/ps", urgency=urgency)
            live = answers.processes(processes.data)
        scalers = answers.autoscalers(read[2].data) if autoscaled else answers.Autoscalers((), ())
        return Inspection(
            state=answers.observed_state(one.status, formation, live),
            formation=formation,
            sent_at=min(answer.sent_at for answer in read),
            autoscalers=scalers.ids,
            autoscaled_types=scalers.types,
            deploying=changing or (autoscaled and answers.deploying(read[3].data)),
            deployment=one.deployment,
            unmanaged=_unmanaged(one.status, formation),
        )

    async def direct_traffic(self, app: Remote, since: datetime) -> datetime | None:
        """From the router's statistics, which reach back 72 hours at most."""
        address = await self._address(app, urgency=Urgency.STOP)
        hours = math.ceil((self._now() - since) / timedelta(hours=1))
        query = {"since": str(min(max(hours, 1), _STATISTICS_HOURS)), "status_code": "all"}
        try:
            answer = await self._session.read(
                f"{address}/stats/router", urgency=Urgency.STOP, query=query
            )
        except answers.AppGone:
            raise
        except NotFound:
            return None  # "no metrics found": nobody came
        return answers.latest_traffic(answer.data, since)

    async def last_formation(self, app: Remote) -> Formation | None:
        """From the app's events, the newest 250 of them."""
        # Asked for only when a start finds no snapshot, and then somebody usually waits.
        address = await self._address(app, urgency=Urgency.VISITOR)
        page: int | None = 1
        for _ in range(_EVENT_PAGES):
            if page is None:
                break
            answer = await self._session.read(
                f"{address}/events",
                urgency=Urgency.VISITOR,
                query={"page": str(page), "per_page": str(_EVENTS_A_PAGE)},
            )
            if (found := answers.before_last_zero(answer.data)) is not None:
                return found
            page = answers.next_page(answer.data)
        return None

    # --- changing ----------------------------------------------------------------------------

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
        address = await self._address(app, urgency=urgency)
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
        address = await self._address(app, urgency=urgency)
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
        address = await self._address(app, urgency=urgency)
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

    # --- following ---------------------------------------------------------------------------

    async def follow(self, operations: Sequence[OpenOperation]) -> Mapping[str, Followed]:
        """One listing per region tells which apps are still at it; the other operations are read.

        A region with a single operation needs no listing: the operation itself costs the same.
        """
        by_region: dict[str, list[OpenOperation]] = {}
        for operation in operations:
            by_region.setdefault(operation.app.identity.region, []).append(operation)
        results = await _all(
            [self._follow_region(region, group) for region, group in by_region.items()]
        )
        followed: dict[str, Followed] = {}
        for result in results:
            if isinstance(result, ProviderError):
                _log.warning("operations could not be followed: %s", result)
            else:
                followed.update(result)
        return followed

    async def _follow_region(
        self, region: str, operations: list[OpenOperation]
    ) -> dict[str, Followed]:
        busy: set[str] = set()
        if len(operations) > 1:
            api = await self._regions.address(region, urgency=Urgency.SCHEDULED)
            answer = await self._session.read(f"{api}/v1/apps", urgency=Urgency.SCHEDULED)
            listed, _ = answers.apps(answer.data)
            busy = {app.id for app in listed if app.status in answers.CHANGING}
        ended = [one for one in operations if one.app.identity.app_id not in busy]
        followed = {
            one.ref: Followed(Progress.RUNNING)
            for one in operations
            if one.app.identity.app_id in busy
        }
        results = await _all([self._read_operation(one) for one in ended])
        for one, result in zip(ended, results, strict=True):
            if isinstance(result, ProviderError):
                _log.warning("operation of %s could not be read: %s", one.app.app_name, result)
            else:
                followed[one.ref] = result
        return followed

    async def _read_operation(self, operation: OpenOperation) -> Followed:
        address = await self._address(operation.app, urgency=Urgency.SCHEDULED)
        try:
            answer = await self._session.read(
                f"{address}/operations/{quote(operation.ref, safe='')}", urgency=Urgency.SCHEDULED
            )
        except NotFound as gone:
            return Followed(Progress.UNKNOWN, str(gone))
        return answers.operation(answer.data)

    async def _address(self, app: Remote, *, urgency: Urgency) -> str:
        api = await self._regions.address(app.identity.region, urgency=urgency)
        return f"{api}/v1/apps/{quote(app.identity.app_id, safe='')}"


def _listed(region: str, app: answers.AppAnswer) -> RemoteApp:
    return RemoteApp(
        region=region,
        app_id=app.id,
        app_name=app.name,
        state=answers.listed_state(app.status),
        url=app.url,
        hosts=app.hosts,
        deployment=app.deployment,
        unmanaged=Reason.NEVER_DEPLOYED if app.status == "new" else None,
    )


def _unmanaged(status: str, formation: Formation) -> Reason | None:
    if status == "new":
        return Reason.NEVER_DEPLOYED
    if not any(process.type == "web" for process in formation):
        return Reason.NO_WEB_PROCESS
    return None


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


async def _all(calls: Sequence[Coroutine[None, None, T]]) -> list[T | ProviderError]:
    """All at once; each result, or the error in its place."""

    async def one(call: Coroutine[None, None, T]) -> T | ProviderError:
        try:
            return await call
        except ProviderError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(call)) for call in calls]
    return [task.result() for task in tasks]


def _value(result: T | ProviderError) -> T:
    if isinstance(result, ProviderError):
        raise result
    return result
