"""Resources of a cluster, as tests of what follows them write them."""

import base64
from collections.abc import Mapping
from typing import Any

from paastis.resources.names import ACCOUNTS, RULES

Object = dict[str, Any]


def account(
    name: str, *, secret: str = "", version: int = 1, created: int = 1, **spec: object
) -> Object:
    """A PaastisAccount for Scalingo, made on that day of January; its Secret is `NAME-token`."""
    return {
        "apiVersion": ACCOUNTS.api_version,
        "kind": ACCOUNTS.kind,
        "metadata": {
            "name": name,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": f"2026-01-{created:02}T00:00:00Z",
        },
        "spec": {
            "provider": "scalingo",
            "credentialsSecretRef": {"name": secret or f"{name}-token"},
            **spec,
        },
    }


def rule(name: str, *, version: int = 1, **spec: object) -> Object:
    """A PaastisRule."""
    return {
        "apiVersion": RULES.api_version,
        "kind": RULES.kind,
        "metadata": {"name": name, "resourceVersion": str(version), "generation": 1},
        "spec": spec,
    }


def secret(name: str, data: Mapping[str, str], *, version: int = 1) -> Object:
    """A Secret with that data, encoded."""
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
