"""The Kubernetes API as one namespace sees it: the only module that imports its client.

Resources are plain dicts. The client brings what is hard to get right, that is where the API is,
who we are there (rotated tokens, client certificates, plug-ins) and TLS; its thousand generated
models are left alone, since they are slow and know nothing of our resources.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from paastis.errors import ConfigError, Expired, RegistryUnavailable
from paastis.registry.answers import Access as Access
from paastis.registry.answers import Event as Event
from paastis.registry.answers import Listing as Listing
from paastis.registry.answers import Object as Object
from paastis.registry.answers import event, parsed, refusal, version_of
from paastis.registry.outgoing import proxy_to
from paastis.resources.names import Resource
from paastis.secret import Secret

_T = TypeVar("_T")

DEADLINE = 10.0
"""Seconds that a call may take."""

CONNECTIONS = 200
"""At a time. Who writes many objects at once has to leave some for Leases and watches."""

PAGE = 500
"""Objects asked for at once: 10,000 in one answer would be 30 MB and stop the loop for a second."""

STRETCH = 300
"""Seconds after which the API server ends a watch by itself; load moves to new servers then."""

QUIET = 70.0
"""Seconds without a line after which a watch is taken for dead: bookmarks come every 60."""

_FAREWELL = 0.1
"""Seconds that the end of a TLS connection takes."""

# What the client raises for files that are not what it expects.
_UNUSABLE = (
    ConfigException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    yaml.YAMLError,
)

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MERGE = "application/merge-patch+json"
_JSON = "application/json"


class Cluster:
    """Calls and watches. Errors are `paastis.errors.RegistryError` and its children:

    `Conflict` (409), `Missing` (404), `Forbidden` (401, 403), `Refused` (400, 422 and other
    mistakes of ours), `Expired` (410), `RegistryUnavailable` for everything else; after that one a
    write may or may not have happened.
    """

    def __init__(
        self, configuration: Configuration, namespace: str, *, deadline: float = DEADLINE
    ) -> None:
        """`deadline`: seconds a call may take unless it says otherwise."""
        self.namespace = namespace
        self.streams = False
        """Whether the API server was seen to begin a watch with all that there is."""
        configuration.connection_pool_maxsize = CONNECTIONS
        # Else aiohttp looks for a proxy and for ~/.netrc at each call, which costs more than the call.
        configuration.client_session_kwargs = {"trust_env": False}
        self._client = ApiClient(configuration)
        self._client.user_agent = "paastis"
        self._deadline = deadline
        self._broken = False

    @classmethod
    async def connect(
        cls,
        *,
        environ: Mapping[str, str],
        namespace: str | None = None,
        context: str | None = None,
    ) -> Self:
        """The cluster that we run in; else the one of KUBECONFIG or `~/.kube/config`.

        `namespace` None: the pod's own, or the context's. A `context` is always one of the file's.
        Raises `ConfigError`.
        """
        configuration = Configuration()
        try:
            if context is None and _inside(environ):
                found = _from_pod(configuration, environ)
            else:
                found = await _from_file(configuration, environ, context)
            configuration.proxy = configuration.proxy or proxy_to(configuration.host, environ)
            return cls(configuration, namespace or found)
        except _UNUSABLE as error:
            raise ConfigError(f"The cluster's configuration cannot be used: {error!r}.") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]
        if self._broken and self._client.configuration.host.startswith("https:"):
            # Of a call that was broken off the client forgets the connection before TLS has said
            # farewell on it, and offers nothing to wait for.
            await asyncio.sleep(_FAREWELL)

    async def access(self) -> Access:
        """What our own calls use, with a token that is read again; raises `RegistryUnavailable`."""
        configuration = self._client.configuration
        token = await self._guarded(
            configuration.get_api_key_with_prefix("BearerToken"), self._deadline
        )
        return Access(
            server=configuration.host,
            authorization=Secret(token) if token else None,
            ca_file=configuration.ssl_ca_cert,
            certificate_file=configuration.cert_file,
            key_file=configuration.key_file,
            insecure=not configuration.verify_ssl,
            proxy=configuration.proxy,
        )

    # --- reading

    async def list(
        self, resource: Resource, *, field_selector: str = "", label_selector: str = ""
    ) -> Listing:
        """All objects, as they are now and not from a cache."""
        for _ in range(3):
            items: list[Object] = []
            version = 0
            pages = self.pages(
                resource, field_selector=field_selector, label_selector=label_selector
            )
            try:
                async with aclosing(pages):
                    async for page in pages:
                        items.extend(page.items)
                        version = page.version
            except Expired:
                continue
            return Listing(items, version)
        raise RegistryUnavailable(f"The list of {resource.plural} expired while it was read.")

    async def pages(
        self,
        resource: Resource,
        *,
        field_selector: str = "",
        label_selector: str = "",
        size: int = PAGE,
    ) -> AsyncGenerator[Listing, None]:
        """The same in pages, all of one version. Raises `Expired` where that is too old by now."""
        token = ""
        while True:
            query = {
                "limit": str(size),
                "continue": token,
                "fieldSelector": field_selector,
                "labelSelector": label_selector,
            }
            found = await self._call("GET", self._path(resource), query)
            meta = found.get("metadata", {})
            # The API tells the kind of a list, and leaves it out of the items.
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            items = [kind | item for item in found.get("items") or ()]
            yield Listing(items, version_of(found))
            token = meta.get("continue", "")
            if not token:
                return

    async def watch(
        self,
        resource: Resource,
        *,
        version: int | None,
        field_selector: str = "",
        quiet: float = QUIET,
        stretch: int = STRETCH,
    ) -> AsyncGenerator[Event, None]:
        """What happens after `version`, with bookmarks; ends when the server ends it.

        None: first all that there is now, up to a bookmark that is marked as its end; `Refused` by
        servers that cannot do that. It ends after `stretch` seconds. Raises `Expired`; `RegistryUnavailable` if nothing came
        for `quiet` seconds.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(stretch),
            "fieldSelector": field_selector,
        }
        if version is not None:
            query["resourceVersion"] = str(version)
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        path = self._path(resource)
        response = await self._guarded(self._open(path, query), self._deadline)
        try:
            while True:
                line = await self._guarded(response.content.readline(), quiet)
                if not line:
                    return
                yield event(line)
        finally:
            _cut(response)

    async def get(self, resource: Resource, name: str, *, deadline: float | None = None) -> Object:
        """One object as it is now."""
        return await self._call("GET", self._path(resource, name), deadline=deadline)

    # --- writing

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, deadline: float | None = None
    ) -> Object:
        """Add an object; `Conflict` where its name is taken."""
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        path = self._path(resource)
        return await self._call("POST", path, body=head | dict(body), deadline=deadline)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: str = "",
        deadline: float | None = None,
    ) -> Object:
        """A merge patch: null removes, lists are replaced whole.

        With `metadata.resourceVersion` in it, `Conflict` unless the object is at that version.
        """
        path = self._path(resource, name, subresource)
        return await self._call("PATCH", path, body=body, content_type=_MERGE, deadline=deadline)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        version: int | None = None,
        uid: str | None = None,
        deadline: float | None = None,
    ) -> None:
        """Remove an object; `Conflict` unless it is at that version, or is that very one."""
        wanted = {"resourceVersion": None if version is None else str(version), "uid": uid}
        preconditions = {key: value for key, value in wanted.items() if value is not None}
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions:
            body["preconditions"] = preconditions
        await self._call("DELETE", self._path(resource, name), body=body, deadline=deadline)

    # --- the wire

    def _path(self, resource: Resource, name: str = "", subresource: str = "") -> str:
        root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        parts = ("namespaces", self.namespace, resource.plural, name, subresource)
        return root + "".join(f"/{quote(part, safe='')}" for part in parts if part)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        deadline: float | None = None,
    ) -> Object:
        async def exchange() -> tuple[int, bytes]:
            response = await self._send(method, path, query or {}, body, content_type)
            try:
                return response.status, await response.read()
            finally:
                response.release()

        status, said = await self._guarded(
            exchange(), self._deadline if deadline is None else deadline
        )
        if status >= 400:
            raise refusal(status, said)
        return parsed(said)

    async def _open(self, path: str, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        response = await self._send("GET", path, query, None, _JSON)
        if response.status >= 400:
            said = await response.read()
            response.release()
            raise refusal(response.status, said)
        return response

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content_type: str,
    ) -> aiohttp.ClientResponse:
        method, url, headers, sent, _ = await self._client.param_serialize(
            method,
            path,
            query_params=[(key, value) for key, value in query.items() if value],
            header_params={"Accept": _JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        # The client's own time-out would end a watch; ours are around every wait.
        unlimited = aiohttp.ClientTimeout(total=None)
        answer = await self._client.call_api(method, url, headers, sent, _request_timeout=unlimited)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _guarded(self, work: Awaitable[_T], deadline: float) -> _T:
        """The result, or `RegistryUnavailable` for what the network and time do to it."""
        try:
            async with asyncio.timeout(deadline):
                return await work
        except asyncio.CancelledError:
            self._broken = True
            raise
        except TimeoutError:
            self._broken = True
            raise RegistryUnavailable(
                f"The Kubernetes API said nothing for {deadline:g} s."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError, ConfigException) as error:
            raise RegistryUnavailable(
                f"The Kubernetes API could not be reached ({type(error).__name__}: {error})."
            ) from error


def _cut(response: aiohttp.ClientResponse) -> None:
    """End a watch without the farewells of TLS, which nobody waits for when the program ends."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


# --- where and who


def _inside(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (_SERVICE_ACCOUNT / "token").exists()


def _from_pod(configuration: Configuration, environ: Mapping[str, str]) -> str:
    """Set up for the pod's service account, whose token is read again each minute."""
    loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
        token_filename=str(_SERVICE_ACCOUNT / "token"),
        cert_filename=str(_SERVICE_ACCOUNT / "ca.crt"),
        environ=environ,
    )
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    return (_SERVICE_ACCOUNT / "namespace").read_text().strip()


async def _from_file(
    configuration: Configuration, environ: Mapping[str, str], context: str | None
) -> str:
    """Set up as kubectl is, and say which namespace its context names."""
    paths = environ.get("KUBECONFIG") or f"{environ.get('HOME', '~')}/.kube/config"
    merged = KubeConfigMerger(paths).config  # type: ignore[no-untyped-call]
    if merged is None:
        raise ConfigError(
            "There is no Kubernetes API to use: this is no pod with a service account's token, and "
            f"{paths} does not exist. Name a kubeconfig in KUBECONFIG."
        )
    loader = KubeConfigLoader(merged, active_context=context)  # type: ignore[no-untyped-call]
    await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    if hasattr(loader, "exec_plugin_expiry"):

        async def renew(configuration: Configuration) -> None:
            # Does nothing before the token's last minutes.
            await loader.load_from_exec_plugin()  # type: ignore[no-untyped-call]
            configuration.api_key["BearerToken"] = loader.token

        configuration.refresh_api_key_hook = renew  # type: ignore[assignment]
    chosen: Mapping[str, Any] = loader.current_context["context"]
    return str(chosen.get("namespace") or "default")
