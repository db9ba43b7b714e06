"""Where the Kubernetes API is, who we are there, and what its answers mean."""

import asyncio
import json
import shutil
from pathlib import Path

import certifi
import pytest

from paastis.errors import (
    ConfigError,
    Conflict,
    Expired,
    Forbidden,
    Missing,
    Refused,
    RegistryUnavailable,
)
from paastis.registry import cluster as door
from paastis.registry.answers import event
from paastis.registry.cluster import Cluster
from paastis.resources.names import APPS
from tests.fakes.kube import KubeFake
from tests.paastis.registry.stage import Stage


def kubeconfig(path: Path, **context: str) -> dict[str, str]:
    named = {"cluster": "c", "user": "u", **context}
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443"}}],
        "users": [{"name": "u", "user": {"token": "a-token"}}],
        "contexts": [
            {"name": "one", "context": named},
            {"name": "two", "context": {**named, "namespace": "second"}},
        ],
        "current-context": "one",
    }
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path)}


async def namespace(**options: object) -> str:
    cluster = await Cluster.connect(**options)  # type: ignore[arg-type]
    await cluster.aclose()
    return cluster.namespace


async def test_namespace_is_the_one_named_or_the_contexts_or_default(tmp_path: Path) -> None:
    environ = kubeconfig(tmp_path / "config")
    assert await namespace(environ=environ) == "default"
    assert await namespace(environ=environ, context="two") == "second"
    assert await namespace(environ=environ, namespace="mine", context="two") == "mine"


async def test_kubeconfig_of_the_home_is_used_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", namespace="home")
    assert await namespace(environ={"HOME": str(tmp_path)}) == "home"


@pytest.mark.parametrize("text", ["", "{", "- a", "current-context: nowhere", "contexts: 3"])
async def test_kubeconfig_that_cannot_be_used_is_a_mistake_of_configuration(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError):
        await Cluster.connect(environ={"KUBECONFIG": str(tmp_path / "config")})


async def test_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="three"):
        await Cluster.connect(environ=kubeconfig(tmp_path / "config"), context="three")


async def test_without_any_configuration_the_sentence_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        await Cluster.connect(environ={"HOME": str(tmp_path)})


async def test_pod_uses_its_service_account_and_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_SERVICE_ACCOUNT", tmp_path)
    for name, text in (("token", "of-the-pod"), ("namespace", "previews"), ("ca.crt", "-")):
        (tmp_path / name).write_text(text)
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError):
        await Cluster.connect(environ=inside)  # that is no certificate
    shutil.copy(certifi.where(), tmp_path / "ca.crt")
    cluster = await Cluster.connect(environ=inside)
    access = await cluster.access()
    await cluster.aclose()
    assert cluster.namespace == "previews"
    assert access.server == "https://10.0.0.1:443"
    assert access.authorization is not None
    assert access.authorization.reveal() == "bearer of-the-pod"
    assert "of-the-pod" not in repr(access)


@pytest.mark.parametrize(
    ("around", "asked"), [("", {"CONNECT api.example:6443 HTTP/1.1\r\n"}), (".example", set())]
)
async def test_proxy_of_the_environment_is_used_unless_it_is_to_be_left_out(
    tmp_path: Path, around: str, asked: set[str]
) -> None:
    lines: set[str] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.add((await reader.readline()).decode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "NO_PROXY": around}
        cluster = await Cluster.connect(environ=kubeconfig(tmp_path / "config") | environ)
        with pytest.raises(RegistryUnavailable):
            await cluster.get(APPS, "shop")  # nobody has that name
        await cluster.aclose()
    assert lines == asked


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Forbidden),
        (403, Forbidden),
        (404, Missing),
        (405, Refused),
        (409, Conflict),
        (410, Expired),
        (413, Refused),
        (422, Refused),
        (429, RegistryUnavailable),
        (500, RegistryUnavailable),
        (503, RegistryUnavailable),
        (504, RegistryUnavailable),
    ],
)
async def test_each_status_has_its_error(
    kube: KubeFake, stage: Stage, status: int, kind: type[Exception]
) -> None:
    cluster = await stage.cluster()
    kube.fail(status=status)
    with pytest.raises(kind, match=f"{status}: made to fail"):
        await cluster.get(APPS, "shop")


async def test_call_has_a_deadline(kube: KubeFake, stage: Stage) -> None:
    cluster = await stage.cluster()
    kube.fail(delay=5)
    with pytest.raises(RegistryUnavailable, match=r"nothing for 0\.1 s"):
        await cluster.get(APPS, "shop", deadline=0.1)


async def test_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    environ = kubeconfig(tmp_path / "config")
    text = (tmp_path / "config").read_text().replace("api.example:6443", "127.0.0.1:9")
    (tmp_path / "config").write_text(text)
    cluster = await Cluster.connect(environ=environ)
    with pytest.raises(RegistryUnavailable, match="could not be reached"):
        await cluster.get(APPS, "shop")
    await cluster.aclose()


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": {}}',
        b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "abc"}}}',
        b'{"type": "ERROR", "object": {}}',
        b'{"type": "ADDED", "object": {"metadata": {"resou',
    ],
)
def test_line_that_makes_no_sense_ends_the_watch(line: bytes) -> None:
    with pytest.raises(RegistryUnavailable):
        event(line)
