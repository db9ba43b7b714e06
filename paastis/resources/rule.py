"""A PaastisRule and a `Rule`: what people say about the apps whose name a pattern matches."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from paastis.app import Condition
from paastis.config import values
from paastis.reasons import Reason
from paastis.resources.fields import Fields
from paastis.resources.names import RULES
from paastis.resources.policy import RULE_SOURCE
from paastis.resources.settings import settings_from, settings_of
from paastis.resources.standing import changed, condition_from, condition_of
from paastis.resources.values import BadResource, news
from paastis.rule import Rule

VALID = "Valid"
"""The condition that tells whether a rule says what its author meant."""

RULE_KEYS = ("pattern", "accounts", "priority")
"""Of the spec, beside the settings."""
_MOST_TOLD = 10


def rule_from(resource: Mapping[str, Any]) -> tuple[Rule | None, tuple[str, ...]]:
    """The rule, and a sentence for each field that cannot be used and counts as not said.

    Without a usable pattern there is no rule. Raises `BadResource` if it has no name.
    """
    name = _name(resource)
    problems: list[str] = []
    fields = Fields(resource.get("spec") or {}, path="spec", problems=problems)
    pattern = fields.one("pattern", values.pattern)
    if pattern is None and not problems:
        problems.append("spec.pattern: a rule needs a pattern")
    settings = settings_from(fields, host=values.host_template)
    priority = fields.one("priority", _priority)
    accounts = fields.many("accounts", values.account_name)
    if pattern is None:
        return None, tuple(problems)
    rule = Rule(
        pattern=pattern,
        settings=settings,
        source=f"{RULE_SOURCE}{name}",
        name=name,
        priority=priority or 0,
        accounts=accounts,
    )
    return rule, tuple(problems)


def manifest_of(rule: Rule, name: str) -> dict[str, Any]:
    """The resource that says the same as the rule, but for its hooks, which no resource can say."""
    spec: dict[str, Any] = {"pattern": rule.pattern}
    if rule.priority:
        spec["priority"] = rule.priority
    if rule.accounts is not None:
        spec["accounts"] = list(rule.accounts)
    return {
        "apiVersion": RULES.api_version,
        "kind": RULES.kind,
        "metadata": {"name": name},
        "spec": spec | settings_of(rule.settings),
    }


def rule_status(
    resource: Mapping[str, Any],
    *,
    apps: int,
    problems: Iterable[str],
    dropped: Iterable[str],
    now: datetime,
) -> dict[str, Any]:
    """A merge patch of the status: how many apps the rule matches, and whether it is valid.

    `problems` are those of `rule_from`, `dropped` are templates that had to be dropped for some
    app. It is empty where the resource says all of this already.
    """
    problems, dropped = tuple(problems), tuple(dropped)
    status = resource.get("status") or {}
    generation = (resource.get("metadata") or {}).get("generation")
    valid = _valid(rule_from(resource)[0] is not None, problems, dropped)
    before = conditions_from(status)
    condition = changed(VALID, not (problems or dropped), *valid, before=before, now=now)
    said = {
        "apps": apps,
        "conditions": [condition_of(condition, generation)],
        "observedGeneration": generation,
    }
    return news(said, status)


def _valid(usable: bool, problems: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[Reason, str]:
    if not usable:
        return Reason.PATTERN_INVALID, told_together(problems)
    if problems:
        return Reason.RULE_INVALID, told_together((*problems, *dropped))
    if dropped:
        return Reason.TEMPLATE_DROPPED, told_together(dropped)
    return Reason.VALID, "The rule can be used as it is."


def told_together(sentences: Iterable[str]) -> str:
    """The first few as one text, and how many more there are."""
    each = [sentence.rstrip(".") + "." for sentence in dict.fromkeys(sentences)]
    more = len(each) - _MOST_TOLD
    return " ".join([*each[:_MOST_TOLD], *([f"And {more} more."] if more > 0 else [])])


def conditions_from(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions that can be read; what cannot is as good as never told."""
    found = []
    for raw in status.get("conditions") or ():
        try:
            found.append(condition_from(raw))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)


def _name(resource: Mapping[str, Any]) -> str:
    name = (resource.get("metadata") or {}).get("name")
    if not isinstance(name, str) or not name:
        raise BadResource("A PaastisRule without a name cannot be read.")
    return name


def _priority(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,6}", text):
        raise ValueError(f"{text!r} is not a priority; expected a whole number, as in 10")
    return int(text)
