"""Runs the Jobs of a namespace as processes: the job controller's work, for helm's hooks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.cluster.access import MERGE_PATCH
from tests.cluster.pods import Pod

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.cluster.access import Cluster
    from tests.cluster.pod_spec import Json


async def run_jobs(
    cluster: Cluster, namespace: str, *, directory: Path, http: aiohttp.ClientSession
) -> None:
    """Runs whatever Job appears, one after the other and each once, until it is cancelled."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    while True:
        for job in (await asyncio.to_thread(cluster.request, "GET", path))["items"]:
            if not job["status"].get("conditions"):
                status = await _run(cluster, job, directory=directory, http=http)
                await asyncio.to_thread(
                    cluster.request,
                    "PATCH",
                    f"{path}/{job['metadata']['name']}/status",
                    {"status": status},
                    content_type=MERGE_PATCH,
                )
        await asyncio.sleep(0.3)


async def _run(
    cluster: Cluster, job: Json, *, directory: Path, http: aiohttp.ClientSession
) -> Json:
    """The status of a Job after its one Pod has ended."""
    begun = _now()
    pod = await Pod.create(cluster, job, directory=directory, http=http)
    pod.launch()
    try:
        code = await pod.ended(within=job["spec"]["activeDeadlineSeconds"])
    finally:
        await pod.remove()
    ended = _now()

    def condition(kind: str, reason: str) -> Json:
        return {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": pod.output[-2000:],
            "lastTransitionTime": ended,
        }

    if code == 0:
        return {
            "startTime": begun,
            "completionTime": ended,
            "succeeded": 1,
            "conditions": [
                condition("SuccessCriteriaMet", "CompletionsReached"),
                condition("Complete", "CompletionsReached"),
            ],
        }
    return {
        "startTime": begun,
        "failed": 1,
        "conditions": [
            condition("FailureTarget", "BackoffLimitExceeded"),
            condition("Failed", "BackoffLimitExceeded"),
        ],
    }


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
