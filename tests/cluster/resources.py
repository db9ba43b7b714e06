"""Our resources in one namespace, as people and their tools meet them."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.cluster.access import MERGE_PATCH, ApiError
from tests.end_to_end.programs import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    import aiohttp

    from tests.cluster.access import Cluster
    from tests.cluster.pod_spec import Json

OURS = "/apis/paastis.io/v1alpha1"


class Resources:
    """What there is, and a person's hands."""

    def __init__(
        self, cluster: Cluster, namespace: str, directory: Path, http: aiohttp.ClientSession
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.directory = directory
        self._http = http
        self.tls = ssl.create_default_context(cafile=cluster.certificate_authority)

    async def request(
        self, method: str, path: str, body: object = None, *, content: str = "application/json"
    ) -> Any:
        """One call as the administrator, on a connection that is kept.

        Raises ApiError for a refusal and aiohttp.ClientError when nobody answers.
        """
        async with self._http.request(
            method,
            self.cluster.url + path,
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.cluster.token}", "Content-Type": content},
            ssl=self.tls,
        ) as answer:
            said = await answer.json(content_type=None)
            if answer.status >= 400:
                raise ApiError(answer.status, said.get("message", ""))
            return said

    def _path(self, what: str) -> str:
        plural, _, name = what.partition("/")
        path = f"{OURS}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    async def get(self, what: str) -> Json:
        """One of our resources, named as for kubectl: `paastisrules/staging`."""
        found: Json = await self.request("GET", self._path(what))
        return found

    async def app(self, name: str) -> Json:
        """A PaastisApp; empty while there is none."""
        try:
            return await self.get(f"paastisapps/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            return {}

    async def apps(self) -> dict[str, Json]:
        """All PaastisApps, by name."""
        found = await self.request("GET", self._path("paastisapps"))
        return {one["metadata"]["name"]: one for one in found["items"]}

    async def reaches(self, name: str, *phases: str, within: float = 20.0) -> Json:
        """The PaastisApp, once it is in one of the phases."""

        async def look() -> Json | None:
            found = await self.app(name)
            return found if found.get("status", {}).get("phase") in phases else None

        found = await until(look, what=f"{name} is {' or '.join(phases)}", within=within)
        assert found is not None
        return found

    async def has_condition(
        self, what: str, kind: str, *, status: str = "True", within: float = 20.0
    ) -> Json:
        """The condition of a resource, once it has that status."""

        async def look() -> Json | None:
            return condition(await self.get(what), kind, status)

        found = await until(look, what=f"{what} has {kind}={status}", within=within)
        assert found is not None
        return found

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of what was told about an object, oldest first."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        found = await self.request("GET", f"{path}?fieldSelector=involvedObject.name%3D{name}")
        told = sorted(found["items"], key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [(event["reason"], event["message"]) for event in told]

    async def are_told(self, name: str, *reasons: str) -> None:
        """Wait until the object's first Events are these: they follow what they tell of."""

        async def look() -> bool:
            told = [reason for reason, _ in await self.events(name)]
            return told[: len(reasons)] == list(reasons)

        await until(look, what=f"Events of {name} are {reasons}")

    # --- a person's hand

    async def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Run kubectl in the namespace; what it said."""
        done = await asyncio.to_thread(
            self.cluster.kubectl, *arguments, "-n", self.namespace, input=input, check=check
        )
        return done.stdout + done.stderr

    async def apply(self, *manifests: Json) -> None:
        """`kubectl apply`."""
        given = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        await self.kubectl("apply", "--filename=-", input=json.dumps(given))

    async def patch(self, what: str, change: Mapping[str, object]) -> None:
        """`kubectl patch paastisapps/shop --type=merge`."""
        await self.kubectl("patch", what, "--type=merge", f"--patch={json.dumps(change)}")

    async def write_status(self, what: str, status: Mapping[str, object]) -> None:
        """What no person does: change a status."""
        path = f"{self._path(what)}/status"
        await self.request("PATCH", path, {"status": status}, content=MERGE_PATCH)

    @asynccontextmanager
    async def watching(self, what: str) -> AsyncIterator[Watching]:
        """`kubectl get --watch` of something that there is, from now on."""
        watch = Watching(
            [str(self.cluster.programs / "kubectl"), "get", what, "--watch", "-n", self.namespace],
            environment=self.cluster.environment,
            log=self.directory / f"watching-{what.replace('/', '-')}.log",
        )

        async def begun() -> bool:
            return len(watch.lines) > 1

        try:
            await until(begun, what="kubectl shows something")
            yield watch
        finally:
            watch.end()


class Watching:
    """What `kubectl get --watch` has shown so far."""

    def __init__(self, command: list[str], *, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    def end(self) -> None:
        """Nothing more is shown."""
        self._process.kill()
        self._process.wait()

    @property
    def lines(self) -> list[str]:
        """Whole lines, the heading first."""
        text = self._log.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1].splitlines()

    def phases(self, name: str) -> list[str]:
        """An app's phases, each once for as long as it stayed."""
        seen: list[str] = []
        for line in self.lines[1:]:
            cells = line.split()
            # Name and account stand before it; it is empty before the first status.
            if cells[0] == name and cells[2][:1].isupper() and seen[-1:] != [cells[2]]:
                seen.append(cells[2])
        return seen


def condition(resource: Json, kind: str, status: str = "True") -> Json | None:
    """That condition of a resource, if it has that status."""
    for one in resource.get("status", {}).get("conditions", ()):
        if one["type"] == kind and one["status"] == status:
            found: Json = one
            return found
    return None
