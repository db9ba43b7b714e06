"""Reads environment variables from several sources, and collects what is wrong with them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from paastis.config import values
from paastis.config.environment import VARIABLES
from paastis.config.values import Check, did_you_mean

T = TypeVar("T")

PREFIXES = (
    "PROVIDER_",
    "REGISTRY_",
    "START_AND_STOP_",
    "ROUTING_",
    "HOOKS_",
    "PAASTIS_",
    "LOGGING_",
)
"""What starts so is meant for us."""

# Set by Kubernetes in every container, after services that happen to start like our prefixes.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
# Ours, but no setting of the programs: what hooks are told, and a switch of the tests.
_NO_SETTING = frozenset(
    f"PAASTIS_{name}"
    for name in (
        "APP_NAME",
        "APP_ID",
        "ACCOUNT",
        "PROVIDER",
        "REGION",
        "PHASE",
        "REASON",
        "REQUIRE_ALL",
    )
)


@dataclass(slots=True)
class Reader:
    """Reads variables and collects what is wrong with them instead of stopping at the first."""

    sources: tuple[Mapping[str, str], ...]
    """The first that holds a name wins."""
    problems: list[str] = field(default_factory=list)

    def given(self, name: str) -> str | None:
        """What was given, without surrounding spaces; None: nothing, or nothing but spaces."""
        return self._raw(name) or None

    def is_empty(self, name: str) -> bool:
        """Whether it was given on purpose as nothing."""
        return self._raw(name) == ""

    def read(self, name: str, check: Check[T], default: T) -> T:
        """The value, or the default where nothing, or nothing valid, was given."""
        given = self.given(name)
        return default if given is None else self._checked(name, given, check, default)

    def optional(self, name: str, check: Check[T]) -> T | None:
        """The value, or None where nothing, or nothing valid, was given."""
        return self.read(name, _widened(check), None)

    def listing(self, name: str, check: Check[T]) -> tuple[T, ...]:
        """The values of a list separated by commas."""
        return self.read(name, lambda given: values.listing(given, check), ())

    def refuse(self, name: str, sentence: str) -> None:
        """Note what is wrong with a variable."""
        self.problems.append(f"{name}: {sentence}")

    def _raw(self, name: str) -> str | None:
        for source in self.sources:
            if name in source:
                return source[name].strip()
        return None

    def _checked(self, name: str, given: str, check: Check[T], default: T) -> T:
        try:
            return check(given)
        except ValueError as error:
            self.refuse(name, str(error))
            return default


def unknown_variables(
    sources: tuple[Mapping[str, str], ...], also_known: Collection[str]
) -> tuple[str, ...]:
    """A sentence for each variable that looks like ours and is not."""
    names = {name for source in sources for name in source if name.startswith(PREFIXES)}
    return tuple(
        f"{name} is not a variable that paastis knows{did_you_mean(name, VARIABLES)}"
        for name in sorted(names - set(VARIABLES) - set(also_known) - _NO_SETTING)
        if not _SERVICE_LINK.fullmatch(name)
    )


def _widened(check: Check[T]) -> Check[T | None]:
    return check
