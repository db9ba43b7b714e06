"""What a service account may do, as the API has it, beside what the audit log says that it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.cluster.access import Cluster
    from tests.cluster.pod_spec import Json

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one kind of resource, which a Role may limit to a name."""

    group: str
    resource: str
    """With its subresource, if any: `paastisapps/status`."""
    verb: str
    name: str = ""
    """Of a grant: empty means any."""

    def __str__(self) -> str:
        where = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {where} {self.name}".rstrip()

    def covers(self, call: Right) -> bool:
        """Whether this grant is what that call needs."""
        return self in {call, Right(call.group, call.resource, call.verb)}


def granted(cluster: Cluster, namespace: str, service_account: str) -> list[Right]:
    """Everything that Roles give it in its namespace, as often as they do."""
    found = []
    for binding in cluster.request("GET", f"{RBAC}/namespaces/{namespace}/rolebindings")["items"]:
        if service_account in _accounts_of(binding):
            assert binding["roleRef"]["kind"] == "Role", "an installation needs no ClusterRole"
            name = binding["roleRef"]["name"]
            role = cluster.request("GET", f"{RBAC}/namespaces/{namespace}/roles/{name}")
            found += [right for rule in role["rules"] for right in _rights(rule)]
    for binding in cluster.request("GET", f"{RBAC}/clusterrolebindings")["items"]:
        assert service_account not in _accounts_of(binding, namespace), binding["metadata"]["name"]
    return found


def _accounts_of(binding: Json, namespace: str | None = None) -> list[str]:
    return [
        subject["name"]
        for subject in binding.get("subjects", ())
        if subject["kind"] == "ServiceAccount"
        and (namespace or binding["metadata"].get("namespace")) == subject["namespace"]
    ]


def _rights(rule: Json) -> Iterable[Right]:
    assert "nonResourceURLs" not in rule
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", ("",)):
                    yield Right(group, resource, verb, name)


@dataclass(frozen=True)
class Asked:
    """What a service account has asked for so far."""

    calls: frozenset[Right]
    denied: frozenset[Right]
    """Of these: what it was not allowed to do."""
    paths: frozenset[str]
    """What it has asked for that is no resource, such as which resources there are. Everybody who
    is known to the API server may look at that (`system:discovery`), so no Role speaks of it."""


def asked(cluster: Cluster, namespace: str, service_account: str) -> Asked:
    """Read now."""
    calls, denied, paths = set(), set(), set()
    for event in cluster.audited(f"system:serviceaccount:{namespace}:{service_account}"):
        if "objectRef" not in event:
            assert event["verb"] == "get", event
            paths.add(event["requestURI"].partition("?")[0])
            continue
        call = _call(event["objectRef"], event["verb"])
        calls.add(call)
        if event.get("annotations", {}).get("authorization.k8s.io/decision") != "allow":
            denied.add(call)
        assert event["objectRef"].get("namespace") == namespace, call
    return Asked(frozenset(calls), frozenset(denied), frozenset(paths))


def _call(reference: dict[str, Any], verb: str) -> Right:
    resource = reference["resource"]
    if "subresource" in reference:
        resource += f"/{reference['subresource']}"
    # A creation cannot be limited to a name: the name is in the body, which no Role looks at.
    name = "" if verb == "create" else reference.get("name", "")
    return Right(reference.get("apiGroup", ""), resource, verb, name)


def differences(grants: Collection[Right], calls: Collection[Right]) -> list[str]:
    """A line for each grant without a call, each call without a grant, and each grant too many."""
    return [
        *(
            f"granted, and not used: {grant}"
            for grant in sorted(set(grants))
            if not any(grant.covers(call) for call in calls)
        ),
        *(
            f"used, and not granted: {call}"
            for call in sorted(calls)
            if not any(grant.covers(call) for grant in grants)
        ),
        *(
            f"granted more than once: {call}"
            for call in sorted(calls)
            if sum(grant.covers(call) for grant in grants) > 1
        ),
    ]
