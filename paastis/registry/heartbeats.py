"""Which proxies live, and how far each has read: one Lease for each of them.

The Lease belongs to the proxy's Pod, so that it goes when the Pod goes, and not before. Whether a
proxy is silent is judged by the one who asks: its Lease has not changed for so long on his clock.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from paastis.errors import Conflict, Forgotten, Missing, RegistryUnavailable
from paastis.registry.answers import Object, version_of
from paastis.registry.cluster import Cluster
from paastis.registry.lease import Sight, micro_time
from paastis.registry.port import Presence
from paastis.resources.names import GROUP, LEASES

log = logging.getLogger(__name__)

LABEL = f"{GROUP}/heartbeat"
POSITION = f"{GROUP}/position"

SILENT_AFTER = 10.0
"""Seconds: five times the 2 s at which proxies send heartbeats."""

_CALL = 5.0
"""Seconds for one call: a heartbeat that takes longer is worth less than the next one."""


def lease_name(proxy: str) -> str:
    """The name of a proxy's Lease, whatever the proxy is called."""
    plain = re.sub(r"[^a-z0-9-]+", "-", proxy.lower()).strip("-")[:63]
    if plain != proxy:
        digest = hashlib.sha256(proxy.encode()).hexdigest()[:8]
        plain = f"{plain}-{digest}" if plain else digest
    return f"paastis-proxy-{plain}"


class Heartbeats:
    """The Leases of all proxies of a namespace."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        owner: Mapping[str, Any] | None,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self._cluster = cluster
        self._owner = owner
        self._monotonic = monotonic
        self._now = now
        self._silent_after = silent_after
        self._seen: dict[str, Sight] = {}

    async def register(self, proxy: str) -> None:
        """From now on this proxy is waited for; it has read nothing yet."""
        name = lease_name(proxy)
        metadata = {
            "labels": {LABEL: "proxy"},
            "annotations": {POSITION: "0"},
            "ownerReferences": [] if self._owner is None else [dict(self._owner)],
        }
        body = {"metadata": metadata, "spec": self._spec(proxy)}
        for _ in range(3):
            try:
                await self._cluster.create(
                    LEASES, {**body, "metadata": {**metadata, "name": name}}, deadline=_CALL
                )
            except Conflict:
                pass  # it was here before, under the same name
            else:
                return
            try:
                await self._cluster.patch(LEASES, name, body, deadline=_CALL)
            except Missing:
                continue
            return
        raise RegistryUnavailable(f"The Lease {name} comes and goes.")

    async def beat(self, proxy: str, position: int) -> None:
        """It lives, and has read so far. Raises `Forgotten` without its Lease."""
        body = {
            "metadata": {"annotations": {POSITION: str(position)}},
            "spec": {"renewTime": micro_time(self._now())},
        }
        try:
            await self._cluster.patch(LEASES, lease_name(proxy), body, deadline=_CALL)
        except Missing:
            raise Forgotten(f"The Lease of the proxy {proxy} is gone.") from None

    async def leave(self, proxy: str) -> None:
        """It is not waited for any more."""
        try:
            await self._cluster.delete(LEASES, lease_name(proxy), deadline=_CALL)
        except Missing:
            log.debug("The Lease of the proxy %s is gone already.", proxy)

    async def all(self) -> tuple[Presence, ...]:
        """All proxies, read now."""
        found = await self._cluster.list(LEASES, label_selector=f"{LABEL}=proxy")
        now = self._monotonic()
        seen = {lease["metadata"]["name"]: lease for lease in found.items}
        self._seen = {name: self._seen.get(name) or Sight() for name in seen}
        presences = [
            Presence(
                proxy=(lease.get("spec") or {}).get("holderIdentity") or name,
                position=_position(lease),
                silent=self._seen[name].saw(version_of(lease), now) > self._silent_after,
            )
            for name, lease in seen.items()
        ]
        return tuple(sorted(presences, key=lambda presence: presence.proxy))

    def _spec(self, proxy: str) -> dict[str, Any]:
        now = micro_time(self._now())
        return {
            "holderIdentity": proxy,
            "leaseDurationSeconds": max(1, round(self._silent_after)),
            "acquireTime": now,
            "renewTime": now,
        }


def _position(lease: Object) -> int:
    """How far the proxy has read; nothing, where somebody has made a mess of it."""
    text = (lease["metadata"].get("annotations") or {}).get(POSITION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
