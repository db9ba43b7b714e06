"""Who a program is inside a Pod, where no kubeconfig says so."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from paastis.errors import ConfigError, Forbidden
from paastis.registry import cluster as door
from paastis.resources.names import SECRETS
from tests.end_to_end.programs import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.access import Cluster


async def test_program_in_a_pod_is_who_its_mounted_token_says_in_its_own_namespace(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_SERVICE_ACCOUNT", tmp_path)
    address = urlsplit(cluster.url)
    environ = {
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port),
        "HOME": str(tmp_path),
    }
    with pytest.raises(ConfigError, match="no pod with a service account's token"):
        await door.Cluster.connect(environ=environ)

    (tmp_path / "token").write_text(cluster.service_account_token(namespace, "default"))
    (tmp_path / "ca.crt").write_text(cluster.certificate_authority.read_text())
    (tmp_path / "namespace").write_text(namespace)
    inside = await door.Cluster.connect(environ=environ)
    try:
        assert inside.namespace == namespace
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
            await inside.list(SECRETS)
        _allow_reading_secrets(cluster, namespace)

        async def allowed() -> bool:
            with suppress(Forbidden):
                return (await inside.list(SECRETS)).items == []
            return False

        await until(allowed, what="it may do what its role allows")
    finally:
        await inside.aclose()


def _allow_reading_secrets(cluster: Cluster, namespace: str) -> None:
    where = ("-n", namespace)
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=secrets", *where)
    account = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", account, *where)
