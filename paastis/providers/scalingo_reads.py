"""What is asked of Scalingo without changing anything: listings, close looks, operations, history.

State is computed from the formation and the live containers; the app's own status word mixes all
process types.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from paastis.app import Formation, Observation
from paastis.errors import NotFound, ProviderError
from paastis.providers import scalingo_answers as answers
from paastis.providers.port import (
    Followed,
    Inspection,
    Listing,
    OpenOperation,
    Progress,
    Remote,
    RemoteApp,
    Urgency,
)
from paastis.providers.scalingo_session import Regions, Session
from paastis.reasons import Reason

_log = logging.getLogger(__name__)

T = TypeVar("T")

_STATISTICS_HOURS = 72  # the longest look back that Scalingo's statistics offer
_EVENT_PAGES = 5
_EVENTS_A_PAGE = 50


class ScalingoReads:
    """The reading half of the adapter; see `paastis.providers.port.Provider` for the methods."""

    def __init__(self, session: Session, regions: Regions, *, now: Callable[[], datetime]) -> None:
        self._session = session
        self._regions = regions
        self._now = now

    async def address_of(self, app: Remote, *, urgency: Urgency) -> str:
        """Where the app is in its region's API."""
        api = await self._regions.address(app.identity.region, urgency=urgency)
        return f"{api}/v1/apps/{quote(app.identity.app_id, safe='')}"

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
            sent_at, (apps, unreadable) = result
            sent.append(sent_at)
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
    ) -> tuple[datetime, tuple[list[answers.AppAnswer], list[str]]]:
        api = await self._regions.address(region, urgency=Urgency.DISCOVERY)
        return await self._all_apps(api, urgency=Urgency.DISCOVERY)

    async def _all_apps(
        self, api: str, *, urgency: Urgency
    ) -> tuple[datetime, tuple[list[answers.AppAnswer], list[str]]]:
        answer = await self._session.read(
            f"{api}/v1/apps", urgency=urgency, keep=answers.APPS_MEMBERS
        )
        # Thousands take a while: beside the loop.
        return answer.sent_at, await asyncio.to_thread(answers.apps, answer.data)

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        """Two or three calls; with `autoscaled`, as before a stop, two more.

        Those tell the autoscalers, and whether a deployment is being built: the app's status does
        not show that before the new version starts.
        """
        address = await self.address_of(app, urgency=urgency)
        asked_at = self._now()
        try:
            return await self._inspect(address, urgency=urgency, autoscaled=autoscaled)
        except answers.AppGone:
            return Inspection(state=Observation.MISSING, formation=(), sent_at=asked_at)

    async def _inspect(self, address: str, *, urgency: Urgency, autoscaled: bool) -> Inspection:
        paths = ["", "/containers", *(("/autoscalers", "/deployments") if autoscaled else ())]
        query = {"/deployments": {"page": "1", "per_page": "1"}}
        results = await _all(
            [
                self._session.read(f"{address}{path}", urgency=urgency, query=query.get(path))
                for path in paths
            ]
        )
        for gone in results:
            if isinstance(gone, answers.AppGone):
                raise gone  # whatever became of the other calls
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
        address = await self.address_of(app, urgency=Urgency.STOP)
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
        address = await self.address_of(app, urgency=Urgency.VISITOR)
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
                _log.info("operations could not be followed: %s", result)
            else:
                followed.update(result)
        return followed

    async def _follow_region(
        self, region: str, operations: list[OpenOperation]
    ) -> dict[str, Followed]:
        busy: set[str] = set()
        if len(operations) > 1:
            api = await self._regions.address(region, urgency=Urgency.SCHEDULED)
            _, (listed, _) = await self._all_apps(api, urgency=Urgency.SCHEDULED)
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
                _log.info("operation of %s could not be read: %s", one.app.app_name, result)
            else:
                followed[one.ref] = result
        return followed

    async def _read_operation(self, operation: OpenOperation) -> Followed:
        address = await self.address_of(operation.app, urgency=Urgency.SCHEDULED)
        try:
            answer = await self._session.read(
                f"{address}/operations/{quote(operation.ref, safe='')}", urgency=Urgency.SCHEDULED
            )
        except NotFound as gone:
            return Followed(Progress.UNKNOWN, str(gone))
        return answers.operation(answer.data)


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
