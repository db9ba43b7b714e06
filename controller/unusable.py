"""The provider of an account that can do nothing: every call is refused, with the reason.

So such an account needs no case of its own anywhere: whoever asks is told why not, nothing is known
anew, and nothing is put to sleep on old knowledge.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

from paastis.app import Formation, Snapshot
from paastis.errors import Unauthorized
from paastis.providers.port import (
    BudgetState,
    Followed,
    Inspection,
    Limits,
    Listing,
    OpenOperation,
    Receipt,
    Remote,
    Urgency,
)

_LIMITS = Limits(
    operations=1,
    visibility=timedelta(seconds=20),
    operation_timeout=timedelta(minutes=5),
    call_timeout=timedelta(seconds=4),
    follow_every=timedelta(seconds=5),
    reports_traffic=False,
    listing_tells_state=False,
)
"""Those of providers in general: operations that were sent before may still be on their way."""


class Unusable:
    """See `paastis.providers.port.Provider`. `why` is a sentence for people."""

    def __init__(self, why: str) -> None:
        self.why = why

    @property
    def limits(self) -> Limits:
        return _LIMITS

    def budget(self) -> BudgetState:
        return BudgetState(per_minute=0, left=0)

    async def check(self) -> str:
        self._refuse()

    async def list_apps(self) -> Listing:
        self._refuse()

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        del app, urgency, autoscaled
        self._refuse()

    async def stop(self, app: Remote, formation: Formation) -> Receipt:
        del app, formation
        self._refuse()

    async def start(self, app: Remote, snapshot: Snapshot, *, urgency: Urgency) -> Receipt:
        del app, snapshot, urgency
        self._refuse()

    async def enable_autoscalers(
        self, app: Remote, ids: Sequence[str], *, urgency: Urgency
    ) -> None:
        del app, ids, urgency
        self._refuse()

    async def follow(self, operations: Sequence[OpenOperation]) -> Mapping[str, Followed]:
        del operations
        self._refuse()

    async def direct_traffic(self, app: Remote, since: datetime) -> datetime | None:
        del app, since
        self._refuse()

    async def last_formation(self, app: Remote) -> Formation | None:
        del app
        self._refuse()

    async def aclose(self) -> None:
        """Nothing is open."""

    def _refuse(self) -> NoReturn:
        raise Unauthorized(self.why)
