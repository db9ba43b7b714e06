"""The fake API server behaves as the real one: one script, played against both."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from paastis.errors import RegistryError
from paastis.registry.cluster import Cluster, Event, Object
from paastis.registry.listing import everything
from paastis.resources.names import APPS, LEASES, Resource
from tests.fakes.kube import fake_kube

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.cluster.access import Cluster as RealCluster

SPEC = {
    "accountRef": {"name": "main"},
    "appId": "0001",
    "region": "osc-fr1",
    "appName": "shop",
}


class Play:
    """What came of each step, without what may differ: uids, times, sentences, exact versions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.told: list[Any] = []
        self._versions: dict[int, int] = {}

    def version(self, told: Object) -> int:
        return int(told["metadata"]["resourceVersion"])

    def note(self, what: str, told: Any) -> None:
        self.told.append((what, self._plain(told)))

    async def step(self, what: str, doing: Awaitable[Any]) -> Any:
        try:
            done = await doing
        except RegistryError as error:
            self.told.append((what, type(error).__name__))
            return None
        self.note(what, done)
        return done

    def _plain(self, told: Any) -> Any:
        if isinstance(told, Event):
            if told.type == "BOOKMARK":
                return "BOOKMARK"
            return told.type, self._plain(told.object)
        if not isinstance(told, dict):
            return told
        metadata = told["metadata"]
        kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
        if told["kind"] == APPS.kind:
            kept["generation"] = metadata["generation"]
        # Versions are told by their order of appearance: 1st, 2nd, the 1st again.
        nth = self._versions.setdefault(self.version(told), len(self._versions))
        return {**kept, "nth": nth, "spec": told.get("spec"), "status": told.get("status")}


async def script(cluster: Cluster) -> list[Any]:
    play = Play(cluster)
    await apps(play)
    await leases(play)
    await pages(play)
    return play.told


async def apps(play: Play) -> None:
    c, step = play.cluster, play.step
    begun = (await c.list(APPS)).version
    body = {"metadata": {"name": "shop"}, "spec": SPEC, "status": {"phase": "Awake"}}
    made = await step("a status is not created", c.create(APPS, body))
    await step("a name is taken once", c.create(APPS, body))
    await step("a bad name is refused", c.create(APPS, {**body, "metadata": {"name": "No_Name"}}))

    async def status(said: Object, seen: int | None = None) -> Any:
        metadata = {} if seen is None else {"metadata": {"resourceVersion": str(seen)}}
        return await c.patch(APPS, "shop", {**metadata, "status": said}, subresource="status")

    first = play.version(made)
    await step("status at its version", status({"phase": "Awake", "cycle": 2}, first))
    await step("status at an old version", status({"phase": "Asleep"}, first))
    await step("status whatever the version", status({"url": "https://shop.example"}))
    await step("null takes away", status({"url": None}))
    await step("nothing new", status({"cycle": 2}))
    await step("lists are replaced", status({"hosts": ["a.example", "b.example"]}))
    await step("lists are replaced again", status({"hosts": ["c.example"]}))
    await step("objects are merged", status({"retry": {"failures": 1}}))
    await step(
        "no spec through the status",
        c.patch(APPS, "shop", {"spec": {"power": "AlwaysOn"}}, subresource="status"),
    )
    await step("no status through the spec", c.patch(APPS, "shop", {"status": {"cycle": 9}}))
    await step("a spec has generations", c.patch(APPS, "shop", {"spec": {"power": "AlwaysOn"}}))
    await step("labels have none", c.patch(APPS, "shop", {"metadata": {"labels": {"a": "b"}}}))
    now = await step("got", c.get(APPS, "shop"))
    await step("delete at an old version", c.delete(APPS, "shop", version=first))
    await step("delete another one", c.delete(APPS, "shop", uid="0000"))
    await step("delete", c.delete(APPS, "shop", version=play.version(now)))
    await step("delete again", c.delete(APPS, "shop"))
    await step("patch what is gone", status({"cycle": 3}))
    await step("get what is gone", c.get(APPS, "shop"))
    await step("a name can be used again", c.create(APPS, body))

    await watched(play, APPS, begun)
    await watched(play, APPS, begun, field_selector="metadata.name=no")
    async with aclosing(c.watch(APPS, version=1)) as expired:
        await step("watch from a version that is history", anext(expired))


async def watched(play: Play, resource: Resource, since: int, *, field_selector: str = "") -> None:
    """Everything that happened since, as a watch tells it; it ends when the server ends it."""
    events = play.cluster.watch(resource, version=since, stretch=1, field_selector=field_selector)
    async with asyncio.timeout(10), aclosing(events):
        async for event in events:
            if event.type != "BOOKMARK":
                play.note("watched", event)
    play.told.append("the watch ended")


async def leases(play: Play) -> None:
    c, step = play.cluster, play.step
    begun = (await c.list(LEASES)).version
    body = {
        "metadata": {"name": "one", "labels": {"kind": "a"}, "annotations": {"at": "0"}},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 10},
    }
    made = await step("lease", c.create(LEASES, body))
    change = {"metadata": {"annotations": {"at": "7"}}, "spec": {"holderIdentity": None}}
    await step("annotation and spec in one", c.patch(LEASES, "one", change))
    old = {"metadata": {"resourceVersion": str(play.version(made))}, "spec": {}}
    await step("lease at an old version", c.patch(LEASES, "one", old))
    await step("two", c.create(LEASES, {"metadata": {"name": "two"}, "spec": {}}))
    for label in ("kind=a", "kind=b"):
        found = await c.list(LEASES, label_selector=label)
        play.told.append((label, [item["metadata"]["name"] for item in found.items]))
    found = await c.list(LEASES, field_selector="metadata.name=two")
    play.told.append([item["metadata"]["name"] for item in found.items])
    await watched(play, LEASES, begun)


async def pages(play: Play) -> None:
    c = play.cluster
    for number in range(5):
        await c.create(LEASES, {"metadata": {"name": f"page-{number}"}, "spec": {}})
    versions = set()
    async for page in c.pages(LEASES, size=3):
        versions.add(page.version)
        play.told.append([(item["kind"], item["metadata"]["name"]) for item in page.items])
        # What happens between pages is not in them.
        await play.step("between pages", c.create(LEASES, _late(len(versions), page.items)))
    play.told.append(len(versions))
    async for part in everything(c, LEASES, size=3):
        play.told.append(sorted(item["metadata"]["name"] for item in part.items))
        play.told.append(part.version >= max(versions))


def _late(number: int, items: Any) -> Object:
    return {"metadata": {"name": f"zz-{number}-{items[0]['metadata']['name']}"}, "spec": {}}


async def test_fake_and_real_server_do_the_same(
    cluster: RealCluster, crds: None, namespace: str, tmp_path: Path
) -> None:
    told = []
    async with fake_kube() as fake:
        fake.write_kubeconfig(tmp_path / "fake", namespace)
        cluster.write_kubeconfig(tmp_path / "real", cluster.token, namespace)
        for server in ("real", "fake"):
            client = await Cluster.connect(environ={"KUBECONFIG": str(tmp_path / server)})
            try:
                told.append(await script(client))
            finally:
                await client.aclose()
    real, faked = told
    for one, other in zip(real, faked, strict=False):
        assert other == one
    assert faked == real
