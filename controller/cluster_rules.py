"""The rules of a cluster, live: all PaastisRules together become what the controller has.

Priorities and names decide, never the order of events: of two rules with the same priority that say
different things about one field, the one whose name comes last in the alphabet wins.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from controller.resources import Resource, Resources
from paastis.metrics import Metrics
from paastis.resources.rule import rule_from
from paastis.resources.values import BadResource
from paastis.rule import Rule

log = logging.getLogger(__name__)

DEBOUNCE = timedelta(milliseconds=100)
"""How long news are collected: whoever applies a folder of rules changes policies once."""


class ClusterRules:
    """All rules of the namespace."""

    def __init__(
        self,
        put_rules: Callable[[Sequence[Rule]], None],
        *,
        file_rules: Sequence[Rule],
        on_news: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """`file_rules` hold hooks alone. `on_news` is told that there is more to say of a rule."""
        self.resources = Resources()
        self._put_rules = put_rules
        # Reports are by name, and a resource may have the same one.
        self._file_rules = [replace(rule, name="") for rule in file_rules]
        self._on_news = on_news
        self._metrics = metrics
        self._problems: dict[str, tuple[str, ...]] = {}
        self._news = asyncio.Event()

    def take(self, kind: str | None, resource: Resource) -> None:
        """An event of the watch."""
        if self.resources.take(kind, resource) is not None:
            self._news.set()

    def compare(self, listed: Sequence[Resource], version: int) -> None:
        """A full list."""
        if self.resources.compare(listed, version):
            self._news.set()

    def problems_of(self, name: str) -> tuple[str, ...]:
        """A sentence for each field of that rule that cannot be used."""
        return self._problems.get(name, ())

    def settle(self) -> None:
        """Hand over all rules as they are now."""
        self._news.clear()
        problems: dict[str, tuple[str, ...]] = {}
        rules: list[Rule] = []
        for name, resource in self.resources.all().items():
            try:
                rule, said = rule_from(resource)
            except BadResource as error:
                rule, said = None, (str(error),)
            if said:
                problems[name] = said
            if rule is not None:
                rules.append(rule)
        self._problems = problems
        # Among equals the later one wins.
        rules.sort(key=lambda rule: rule.name)
        rules.sort(key=lambda rule: rule.priority)
        self._put_rules([*self._file_rules, *rules])
        self._on_news()

    async def run(self) -> None:
        """Hand over all rules a moment after each change, for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(DEBOUNCE.total_seconds())
            try:
                self.settle()
            except Exception:
                log.exception("unexpected fault")
                self._metrics.errors.labels("rules").inc()
