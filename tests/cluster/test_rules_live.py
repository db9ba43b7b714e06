"""Rules as people apply, change and delete them while the programs run."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.installation import Installation, installed
from tests.end_to_end.programs import Json, app, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.cluster.access import Cluster

log = logging.getLogger(__name__)

MANY = [f"review-{number:03}-web" for number in range(100)]
LONG: Json = {"settings": {"maxIdleTime": "15m"}}
"""Nothing falls asleep meanwhile."""


def rule(name: str, **spec: object) -> Json:
    return {
        "apiVersion": "paastis.io/v1alpha1",
        "kind": "PaastisRule",
        "metadata": {"name": name},
        "spec": spec,
    }


def policy_of(resource: Json) -> Json:
    """Empty until the first write to its status."""
    policy: Json = resource.get("status", {}).get("policy", {})
    return policy


async def policies(
    paastis: Installation, expected: Mapping[str, object], *, of: Callable[[str], bool], what: str
) -> float:
    """Seconds until the policies of these apps say what is expected of them.

    None stands for a field that is not there.
    """
    begun = time.monotonic()

    async def as_expected() -> bool:
        found = [policy_of(one) for name, one in (await paastis.apps()).items() if of(name)]
        assert found
        return all(
            policy.get(field) == value for policy in found for field, value in expected.items()
        )

    await until(as_expected, what=what)
    took = time.monotonic() - begun
    log.info("%s: %.2f s", what, took)  # to be seen with --log-cli-level=INFO
    return took


async def rule_says(paastis: Installation, name: str, **expected: Any) -> Json:
    """The condition `Valid` of a rule, once its status is about its spec as it is now, and says so."""

    async def look() -> Json | None:
        found = await paastis.get(f"paastisrules/{name}")
        status = found.get("status", {})
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        if not current or any(status.get(key) != value for key, value in expected.items()):
            return None
        (valid,) = status["conditions"]
        assert valid["type"] == "Valid"
        return dict(valid)

    said = await until(look, what=f"rule {name} says {expected}")
    assert said is not None
    return said


def of_many(name: str) -> bool:
    return name.startswith("review-")


@pytest.mark.timeout(120)
async def test_rule_that_is_applied_changed_and_deleted_changes_the_policy_of_100_apps(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    apps = [app(name) for name in (*MANY, "shop")]
    async with installed(cluster, namespace, tmp_path, apps=apps, values=LONG) as paastis:

        async def discovered() -> bool:
            return len(await paastis.apps()) == len(apps)

        await until(discovered, what="all are discovered")
        await policies(paastis, {"maxIdleTime": "15m"}, of=lambda _: True, what="default")

        await paastis.apply(rule("reviews", pattern="review-.*", maxIdleTime="2h"))
        two_hours = {"maxIdleTime": "2h", "rule": "reviews"}
        await policies(paastis, two_hours, of=of_many, what="applied")
        assert (await paastis.app("shop"))["status"]["policy"]["maxIdleTime"] == "15m"
        said = await rule_says(paastis, "reviews", apps=100)
        assert said["status"] == "True"
        policy = (await paastis.app(MANY[0]))["status"]["policy"]
        assert policy["sources"]["maxIdleTime"] == "PaastisRule reviews"

        await paastis.patch("paastisrules/reviews", {"spec": {"maxIdleTime": "90m"}})
        await policies(paastis, {"maxIdleTime": "1h30m"}, of=of_many, what="changed")
        await paastis.patch("paastisrules/reviews", {"spec": {"pattern": "review-00.-web"}})
        await policies(
            paastis,
            {"maxIdleTime": "15m", "rule": None},
            of=lambda name: of_many(name) and not name.startswith("review-00"),
            what="narrowed",
        )
        await rule_says(paastis, "reviews", apps=10)
        table = (await paastis.kubectl("get", "prule")).splitlines()
        assert table[0].split() == ["NAME", "PATTERN", "PRIORITY", "APPS", "VALID", "AGE"]
        assert table[1].split()[:-1] == ["reviews", "review-00.-web", "0", "10", "True"]

        await paastis.kubectl("delete", "paastisrules/reviews")
        await policies(paastis, {"maxIdleTime": "15m", "rule": None}, of=of_many, what="deleted")


@pytest.mark.timeout(120)
async def test_rules_that_disagree_resolve_by_priority_and_a_wrong_one_harms_no_other(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    apps = [app(name) for name in (*MANY[:10], "shop")]
    async with installed(cluster, namespace, tmp_path, apps=apps, values=LONG) as paastis:
        await paastis.apply(
            rule("every", pattern=".*", maxIdleTime="1h", displayName="the-$0", priority=1),
            rule("reviews", pattern="review-.*", maxIdleTime="2h", priority=7),
            rule("zero", pattern="review-000-.*", maxIdleTime="3h", priority=7),
            rule("late", pattern="review-001-.*", maxIdleTime="4h", priority=6),
            rule("wrong", pattern="(review|shop)(-.*)?", linkedApps=["$2-$nobody"], priority=3),
        )

        async def resolved() -> bool:
            found = {name: policy_of(one) for name, one in (await paastis.apps()).items()}
            return len(found) == len(apps) and {
                name: (policy.get("maxIdleTime"), policy.get("displayName"))
                for name, policy in found.items()
            } == {
                **{name: ("2h", f"the-{name}") for name in MANY[1:10]},
                MANY[0]: ("3h", f"the-{MANY[0]}"),  # equals in priority: the later name
                "shop": ("1h", "the-shop"),
            }

        await until(resolved, what="field by field, the highest priority wins")
        sources = (await paastis.app(MANY[0]))["status"]["policy"]["sources"]
        assert sources["maxIdleTime"] == "PaastisRule zero"
        assert sources["displayName"] == "PaastisRule every"
        for name, count in {"every": 11, "reviews": 10, "zero": 1, "late": 1}.items():
            assert (await rule_says(paastis, name, apps=count))["status"] == "True"

        said = await rule_says(paastis, "wrong", apps=11)
        assert (said["status"], said["reason"]) == ("False", "TemplateDropped")
        assert "nobody" in said["message"]

        # What is refused by the server reaches nobody.
        refused = await paastis.kubectl(
            *("patch", "paastisrules/every", "--type=merge"),
            '--patch={"spec":{"maxIdleTime":"15 minutes"}}',
            check=False,
        )
        assert "maxIdleTime" in refused
        assert await resolved()

        await paastis.kubectl("delete", "paastisrules/every", "paastisrules/zero")

        async def without() -> bool:
            found = {name: policy_of(one) for name, one in (await paastis.apps()).items()}
            return found["shop"]["maxIdleTime"] == "15m" and all(
                found[name]["maxIdleTime"] == "2h" and "displayName" not in found[name]
                for name in MANY[:10]
            )

        await until(without, what="what is left of the rules holds")
