"""How Scalingo's API writes down what the pretend platform knows. Keys and types as in its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from paastis.simulate.app import App, Autoscaler, Container, Deployment, Event, Operation

MEBIBYTE = 1024 * 1024
SIZES: Mapping[str, int] = {
    "S": 256,
    "M": 512,
    "L": 1024,
    "XL": 2048,
    "2XL": 4096,
    "3XL": 8192,
}
"""The sizes of containers with their memory in MiB."""
MOST_CONTAINERS = 10
"""Per process type."""

Json = dict[str, object]


def moment(at: datetime | None) -> str | None:
    """An instant with milliseconds, or null."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def user(name: str) -> Json:
    """An account, shortly."""
    return {"id": f"us-{name}", "username": name, "email": f"{name}@example.com", "flags": {}}


def app(app: App, url: str) -> Json:
    """An app; `url` is where its visitors go."""
    last = app.last_deployment
    return {
        "id": app.id,
        "name": app.name,
        "region": app.region,
        "status": app.status,
        "url": url,
        "base_url": url,
        "git_url": f"git@ssh.{app.region}.localhost:{app.name}.git",
        "parent_app_name": app.parent,
        "owner": user("demo"),
        "project": {"id": "prj-default", "name": "default"},
        "created_at": moment(app.created_at),
        "updated_at": moment(app.updated_at),
        "last_deployed_at": moment(last.finished_at) if last else None,
        "last_deployed_by": last.by if last else None,
        "last_deployment_id": last.id if last else None,
        "force_https": app.settings.get("force_https", False),
        "sticky_session": app.settings.get("sticky_session", False),
        "router_logs": app.settings.get("router_logs", False),
        "hds_resource": False,
        "stack_id": "st-simulated",
        "flags": {},
        "limits": {},
        "git_source": "",
        "links": {"deployments_stream": ""},
        "private_networks_ids": [],
        "data_access_consent": None,
    }


def formation(app: App) -> list[Json]:
    """Every process type, also those at 0."""
    return [
        {
            "name": p.name,
            "amount": p.amount,
            "size": p.size,
            "command": p.command,
            "app_id": app.id,
        }
        for p in app.formation.values()
    ]


def container_size(name: str) -> Json:
    """A size that a container may have."""
    memory = SIZES.get(name, 0)
    return {
        "id": f"size-{name.lower()}",
        "name": name,
        "human_name": name,
        "human_cpu": "simulated",
        "human_memory": f"{memory} MiB",
        "memory": memory * MEBIBYTE,
    }


def container(app: App, container: Container) -> Json:
    """A live container."""
    return {
        "id": container.id,
        "app_id": app.id,
        "type": container.type,
        "type_index": container.index,
        "label": container.label,
        "state": container.state,
        "command": f"simulated {container.type}",
        "size": container.size,
        "container_size": container_size(container.size),
        "created_at": moment(container.created_at),
        "deleted_at": None,
    }


def autoscaler(app: App, autoscaler: Autoscaler) -> Json:
    """An autoscaler of one process type."""
    return {
        "id": autoscaler.id,
        "app_id": app.id,
        "container_type": autoscaler.type,
        "min_containers": autoscaler.minimum,
        "max_containers": autoscaler.maximum,
        "metric": autoscaler.metric,
        "target": autoscaler.target,
        "disabled": autoscaler.disabled,
    }


def operation(app: App, operation: Operation) -> Json:
    """An operation; `finished_at` is absent until it has ended."""
    data: Json = {
        "id": operation.id,
        "app_id": app.id,
        "type": operation.kind,
        "status": operation.status,
        "created_at": moment(operation.created_at),
        "error": operation.error,
    }
    if operation.finished_at is not None:
        data["finished_at"] = moment(operation.finished_at)
    return data


def deployment(app: App, deployment: Deployment) -> Json:
    """A deployment."""
    took = None
    if deployment.finished_at is not None:
        took = int((deployment.finished_at - deployment.created_at).total_seconds())
    return {
        "id": deployment.id,
        "app_id": app.id,
        "created_at": moment(deployment.created_at),
        "finished_at": moment(deployment.finished_at),
        "duration": took,
        "git_ref": deployment.id,
        "image": "",
        "registry": "",
        "status": deployment.status,
        "pusher": user(deployment.by),
        "links": {"output": ""},
    }


def event(app: App, event: Event) -> Json:
    """Something that happened. Amounts in a `scale` event are texts such as `3:S`."""
    data: Mapping[str, object] = event.data
    if event.kind == "scale":
        data = {
            "previous_containers": _amounts(event.data["before"]),
            "containers": _amounts(event.data["after"]),
        }
    return {
        "id": event.id,
        "created_at": moment(event.at),
        "user": user(event.by),
        "app_id": app.id,
        "app_name": app.name,
        "type": event.kind,
        "type_data": data,
    }


def _amounts(formation: object) -> Json:
    if not isinstance(formation, dict):
        raise TypeError("a scale event carries two formations")
    return {name: f"{amount}:{size}" for name, (amount, size) in formation.items()}
