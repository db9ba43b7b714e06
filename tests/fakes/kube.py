"""A small Kubernetes API server, for what a real one does not do when asked to.

It keeps namespaced objects of any kind by the rules of the real one, as far as paastis uses them:
versions, watches with history and bookmarks, pages, merge patches, statuses that have their own
door, preconditions. `tests/cluster/test_fake.py` plays one script against both. It checks no
schema, no rights and no admission.

Then it can fail: expire its history, fall deaf, lose answers, forget to tell of a deletion.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import uuid
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

Object = dict[str, Any]

_PATH = re.compile(
    r"/(?P<root>api/v1|apis/[^/]+/[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status))?"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_REASONS = {
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
}


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of that kind."""

    method: str = ""
    path: str = ""
    """A part of it."""
    watch: bool | None = None
    status: int | None = None
    """Answered instead of doing anything."""
    delay: float = 0.0
    lost: bool = False
    """It is done, and the connection ends before the answer."""
    times: int = 1

    def meets(self, request: web.Request) -> bool:
        return (
            self.times > 0
            and self.method in ("", request.method)
            and self.path in request.path
            and self.watch in (None, "watch" in request.query)
        )


@dataclass(frozen=True)
class Logged:
    version: int
    type: str
    collection: str
    object: Object


@dataclass(eq=False)
class Stream:
    """An open watch."""

    collection: str
    news: asyncio.Event = field(default_factory=asyncio.Event)
    deaf: bool = False
    ended: bool = False


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def object(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": _REASONS.get(self.status, "InternalError"),
            "code": self.status,
        }


class KubeFake:
    """Start it with `fake_kube()`; everything here may be used from the tests' own loop."""

    def __init__(self) -> None:
        self.url = ""
        self.version = 100
        self.bookmark_every = 60.0
        self.bookmarks = 0
        """Sent so far."""
        self.streams_lists = True
        """A watch may begin with all that there is; before Kubernetes 1.32 it may not."""
        self.expired = False
        """Every watch is told that its version has expired."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self._collections: dict[str, dict[str, Object]] = {}
        self._log: list[Logged] = []
        self._oldest = self.version
        self._streams: set[Stream] = set()

    # --- what tests do to it

    def fail(self, **fault: Any) -> Fault:
        """See `Fault`."""
        made = Fault(**fault)
        self.faults.append(made)
        return made

    def forget_history(self) -> None:
        """Watches from before now have expired, and those that are open end so."""
        self._oldest = self.version
        self._log.clear()
        for stream in self._streams:
            stream.ended = True
            stream.news.set()

    def deafen(self) -> None:
        """Open watches bring nothing any more, and do not end."""
        for stream in self._streams:
            stream.deaf = True

    def end_watches(self) -> None:
        """As a server that shuts down does."""
        for stream in self._streams:
            stream.ended = True
            stream.news.set()

    def remove_quietly(self, plural: str, name: str) -> None:
        """An object goes, and no watch is told."""
        for path, objects in self._collections.items():
            if path.endswith(f"/{plural}"):
                objects.pop(name, None)
        self.version += 1

    def objects(self, plural: str) -> dict[str, Object]:
        """All objects of a kind by name."""
        found: dict[str, Object] = {}
        for path, objects in self._collections.items():
            if path.endswith(f"/{plural}"):
                found |= objects
        return found

    def asked(self, method: str, plural: str, *, watch: bool = False) -> int:
        """How many such requests came: lists and gets, or watches."""
        return sum(
            one == method and f"/{plural}" in path and ("watch" in query) == watch
            for one, path, query in self.requests
        )

    @property
    def watches(self) -> int:
        """How many are open and not deaf."""
        return sum(not stream.deaf for stream in self._streams)

    def write_kubeconfig(self, path: Path, namespace: str = "default") -> None:
        """For clients that are to meet this and no other cluster."""
        context = {"cluster": "fake", "user": "fake", "namespace": namespace}
        config = {
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "contexts": [{"name": "fake", "context": context}],
            "users": [{"name": "fake", "user": {"token": "a-token"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config))

    # --- requests

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Everything."""
        self.requests.append((request.method, request.path, dict(request.query)))
        fault = next((one for one in self.faults if one.meets(request)), None)
        if fault is not None:
            fault.times -= 1
            await asyncio.sleep(fault.delay)
            if fault.status is not None:
                refusal = Refusal(fault.status, "made to fail")
                return web.json_response(refusal.object(), status=fault.status)
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = web.json_response(refusal.object(), status=refusal.status)
        if fault is not None and fault.lost and request.transport is not None:
            request.transport.abort()
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        found = _PATH.fullmatch(request.path)
        if found is None:
            raise Refusal(404, "the server could not find the requested resource")
        name, sub = found["name"], found["sub"]
        collection = f"/{found['root']}/namespaces/{found['namespace']}/{found['plural']}"
        objects = self._collections.setdefault(collection, {})
        if name is None:
            if request.method == "POST":
                return web.json_response(self._create(collection, await request.json()), status=201)
            if "watch" in request.query:
                return await self._watch(request, collection)
            return web.json_response(self._list(objects, request.query))
        if name not in objects:
            raise Refusal(404, f'{found["plural"]} "{name}" not found')
        match request.method:
            case "GET":
                return web.json_response(objects[name])
            case "PATCH":
                patch = await request.json()
                return web.json_response(self._patch(collection, name, patch, status=bool(sub)))
            case "DELETE":
                return web.json_response(self._delete(collection, name, await request.json()))
        raise Refusal(405, "the server does not allow this method on the requested resource")

    # --- reading

    def _list(self, objects: Mapping[str, Object], query: Mapping[str, str]) -> Object:
        token = query.get("continue", "")
        if token:
            kept = json.loads(base64.b64decode(token))
            version, after = kept["version"], kept["after"]
            if version < self._oldest:
                raise Refusal(410, "The provided continue parameter is too old")
            shown = self._at(objects, version)
        else:
            version, after, shown = self.version, "", dict(objects)
        names = [name for name in sorted(shown) if name > after and _selected(shown[name], query)]
        limit = int(query.get("limit", 0)) or len(names)
        meta = {"resourceVersion": str(version)}
        if len(names) > limit:
            rest = {"version": version, "after": names[limit - 1]}
            meta["continue"] = base64.b64encode(json.dumps(rest).encode()).decode()
        return {"kind": "List", "metadata": meta, "items": [shown[n] for n in names[:limit]]}

    def _at(self, objects: Mapping[str, Object], version: int) -> dict[str, Object]:
        """The objects as they were at a version, by undoing what happened since."""
        shown = {n: o for n, o in objects.items() if _version(o) <= version}
        for logged in self._log:
            name = logged.object["metadata"]["name"]
            if objects is self._collections[logged.collection] and logged.version <= version:
                if logged.type == "DELETED":
                    shown.pop(name, None)
                elif name not in shown or _version(shown[name]) < logged.version:
                    shown[name] = logged.object
        return shown

    async def _watch(self, request: web.Request, collection: str) -> web.StreamResponse:
        query = request.query
        if "sendInitialEvents" in query and not self.streams_lists:
            raise Refusal(422, "sendInitialEvents is forbidden for watch")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream = Stream(collection)
        self._streams.add(stream)
        with suppress(ConnectionError):
            try:
                async with asyncio.timeout(float(query.get("timeoutSeconds", 3600))):
                    await self._tell(response, stream, query)
            except TimeoutError:
                pass
            finally:
                self._streams.discard(stream)
            await response.write_eof()
        return response

    async def _tell(
        self, response: web.StreamResponse, stream: Stream, query: Mapping[str, str]
    ) -> None:
        since = int(query.get("resourceVersion", 0))
        if since == 0:  # "what there is, then what happens", whatever history there is
            since = self.version
            for there in list(self._collections[stream.collection].values()):
                if _selected(there, query):
                    await _line(response, "ADDED", there)
            if "sendInitialEvents" in query:
                end = {"k8s.io/initial-events-end": "true"}
                at = {"metadata": {"resourceVersion": str(since), "annotations": end}}
                await _line(response, "BOOKMARK", at)
        bookmarks = query.get("allowWatchBookmarks") == "true"
        while not stream.ended:
            stream.news.clear()
            if self.expired or since < self._oldest:
                await _line(response, "ERROR", Refusal(410, "too old resource version").object())
                return
            for logged in [one for one in self._log if one.version > since]:
                since = logged.version
                ours = logged.collection == stream.collection
                if ours and not stream.deaf and _selected(logged.object, query):
                    await _line(response, logged.type, logged.object)
            try:
                async with asyncio.timeout(self.bookmark_every):
                    await stream.news.wait()
            except TimeoutError:
                if bookmarks and not stream.deaf:
                    since = self.version
                    at = {"metadata": {"resourceVersion": str(since)}}
                    await _line(response, "BOOKMARK", at)
                    self.bookmarks += 1

    # --- writing

    def _create(self, collection: str, body: Object) -> Object:
        name = body["metadata"]["name"]
        if not _NAME.fullmatch(name):
            raise Refusal(422, f"metadata.name: Invalid value: {name!r}")
        if name in self._collections[collection]:
            raise Refusal(409, f'"{name}" already exists')
        made = copy.deepcopy(body)
        made["metadata"] |= {
            "uid": str(uuid.uuid4()),
            "namespace": collection.split("/")[-2],
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if _is_ours(collection):
            made.pop("status", None)
            made["metadata"]["generation"] = 1
        return self._store(collection, name, made, "ADDED")

    def _patch(self, collection: str, name: str, patch: Object, *, status: bool) -> Object:
        old = self._collections[collection][name]
        seen = (patch.get("metadata") or {}).get("resourceVersion")
        if seen is not None and seen != old["metadata"]["resourceVersion"]:
            raise Refusal(409, f'"{name}": the object has been modified')
        if _is_ours(collection):
            hidden = {"spec", "metadata"} if status else {"status"}
            patch = {key: value for key, value in patch.items() if key not in hidden}
        new = copy.deepcopy(_merged(old, patch))
        fixed = ("uid", "resourceVersion", "namespace", "name", "creationTimestamp", "generation")
        new["metadata"] |= {key: old["metadata"][key] for key in fixed if key in old["metadata"]}
        if new == old:
            return old  # nothing changed: no new version, and no event
        if _is_ours(collection) and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] += 1
        return self._store(collection, name, new, "MODIFIED")

    def _delete(self, collection: str, name: str, options: Object) -> Object:
        old = self._collections[collection][name]
        for key, wanted in (options.get("preconditions") or {}).items():
            if old["metadata"][key] != wanted:
                raise Refusal(409, f'"{name}": the {key} in the precondition does not match')
        gone = self._store(collection, name, copy.deepcopy(old), "DELETED")
        del self._collections[collection][name]
        return gone

    def _store(self, collection: str, name: str, made: Object, kind: str) -> Object:
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        self._collections[collection][name] = made
        self._log.append(Logged(self.version, kind, collection, made))
        for stream in self._streams:
            stream.news.set()
        return made


def _is_ours(collection: str) -> bool:
    """Custom resources here have a status with a door of its own."""
    return "/apis/paastis.io/" in collection


def _version(told: Object) -> int:
    return int(told["metadata"]["resourceVersion"])


def _selected(told: Object, query: Mapping[str, str]) -> bool:
    wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
    labels = told["metadata"].get("labels") or {}
    pairs = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
    return wanted in ("", told["metadata"]["name"]) and all(labels.get(k) == v for k, v in pairs)


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = _merged(new.get(key), value)
    return new


async def _line(response: web.StreamResponse, kind: str, told: Object) -> None:
    await response.write(json.dumps({"type": kind, "object": told}).encode() + b"\n")


@asynccontextmanager
async def fake_kube() -> AsyncIterator[KubeFake]:
    """A server on a free port of this machine."""
    fake = KubeFake()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        fake.end_watches()
        await runner.cleanup()
