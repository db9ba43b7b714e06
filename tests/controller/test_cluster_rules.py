"""Rules of a cluster become what the controller has, in an order that events do not decide."""

import asyncio
from collections.abc import Sequence

from controller.cluster_rules import ClusterRules
from paastis.metrics import Metrics
from paastis.policy import Settings
from paastis.rule import Hooks, Rule
from tests.controller.conftest import until
from tests.controller.resources import rule

HOOKED = Rule(".*", Settings(), "rule '.*' (paastis.yml, line 2)", "a", hooks=Hooks("./ask.sh"))


class Kept:
    """What was handed over, each time."""

    def __init__(self) -> None:
        self.times: list[list[Rule]] = []
        self.news = 0
        self.rules = ClusterRules(
            self.put, file_rules=[HOOKED], on_news=self.hear, metrics=Metrics()
        )

    def put(self, rules: Sequence[Rule]) -> None:
        self.times.append(list(rules))

    def hear(self) -> None:
        self.news += 1

    @property
    def names(self) -> list[str]:
        return [rule.name for rule in self.times[-1]]


def test_higher_priority_wins_and_among_equals_the_last_in_the_alphabet() -> None:
    kept = Kept()
    kept.rules.compare(
        [
            rule("b", pattern="x"),
            rule("a", pattern="x"),
            rule("c", pattern="x", priority=5),
            rule("d", pattern="x", priority=-5),
        ],
        version=3,
    )

    kept.rules.settle()

    # What comes later wins; hooks of the file have no name that a resource could share.
    assert kept.names == ["", "d", "a", "b", "c"]
    assert kept.times[-1][0].hooks == HOOKED.hooks


def test_rule_without_usable_pattern_is_told_and_breaks_no_other() -> None:
    kept = Kept()
    kept.rules.take("ADDED", rule("bad", pattern="(("))
    kept.rules.take("ADDED", rule("good", pattern="x", maxIdleTime="soon"))

    kept.rules.settle()

    assert kept.names == ["", "good"]
    assert "spec.pattern" in kept.rules.problems_of("bad")[0]
    assert "spec.maxIdleTime" in kept.rules.problems_of("good")[0]
    assert kept.rules.problems_of("other") == ()
    assert kept.news == 1


async def test_many_changes_at_once_are_handed_over_together() -> None:
    kept = Kept()
    task = asyncio.create_task(kept.rules.run())
    try:
        for number in range(50):
            kept.rules.take("ADDED", rule(f"r{number}", pattern="x"))
        await until(lambda: kept.times)
        kept.rules.take("DELETED", rule("r0", version=2, pattern="x"))
        kept.rules.take("DELETED", rule("r0", version=2, pattern="x"))
        await until(lambda: len(kept.names) == 50)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert len(kept.times) == 2
