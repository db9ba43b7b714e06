"""What people wrote, read field by field: what is wrong is noted in a sentence, and left out.

The server has refused most mistakes already. What its schema cannot see (that a time zone exists,
that a pattern can be compiled) is found here, and one bad field takes none of the others with it.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from paastis.config.values import Check, one_of
from paastis.resources.values import shown

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def word(kind: type[E]) -> Check[E]:
    """A member of an enumeration, spelt as the schema has it."""

    def check(given: str) -> E:
        try:
            return kind(given)
        except ValueError:
            raise ValueError(one_of((member.value for member in kind), given)) from None

    return check


class Fields:
    """One object of a resource. What is null counts as not said; unknown keys are ignored."""

    __slots__ = ("_path", "_problems", "_raw")

    def __init__(self, raw: Any, *, path: str, problems: list[str]) -> None:
        self._raw: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        self._path = path
        self._problems = problems
        if raw is not None and not isinstance(raw, Mapping):
            problems.append(f"{path}: {shown(raw)} is not an object")

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def one(self, key: str, check: Check[T]) -> T | None:
        """The value of a key; None where nothing, or nothing valid, is said."""
        value = self._raw.get(key)
        return None if value is None else self._checked(key, value, check)

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self._raw.get(key)
        if value is None or isinstance(value, bool):
            return value
        self._refuse(key, f"{shown(value)} is neither true nor false")
        return None

    def many(self, key: str, check: Check[T]) -> tuple[T, ...] | None:
        """The valid values of a list; None where there is none."""
        if key not in self:
            return None
        items = self._items(key)
        found = (self._checked(f"{key}[{index}]", item, check) for index, item in items)
        return tuple(value for value in found if value is not None)

    def object(self, key: str) -> "Fields | None":
        """The object under a key."""
        if key not in self:
            return None
        return Fields(self._raw[key], path=f"{self._path}.{key}", problems=self._problems)

    def objects(self, key: str) -> Iterator["Fields"]:
        """The objects of a list."""
        for index, item in self._items(key):
            yield Fields(item, path=f"{self._path}.{key}[{index}]", problems=self._problems)

    def refuse(self, sentence: str) -> None:
        """Note a problem with the object as a whole."""
        self._problems.append(f"{self._path}: {sentence}")

    def _items(self, key: str) -> Iterator[tuple[int, Any]]:
        value = self._raw.get(key)
        if isinstance(value, list):
            return iter(enumerate(value))
        if value is not None:
            self._refuse(key, f"{shown(value)} is not a list")
        return iter(())

    def _checked(self, key: str, value: Any, check: Check[T]) -> T | None:
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._refuse(key, f"{shown(value)} is not a plain value")
            return None
        try:
            return check(str(value))
        except ValueError as error:
            self._refuse(key, str(error))
            return None

    def _refuse(self, key: str, sentence: str) -> None:
        self._problems.append(f"{self._path}.{key}: {sentence}")
