"""A string that must not be seen: tokens and passwords."""

import hmac


class Secret:
    """Holds a secret and keeps it out of `repr`, `str`, logs and errors."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; for the one place that sends or compares it."""
        return self._value

    def matches(self, given: str) -> bool:
        """Compare in constant time, so that answers tell nothing about the secret."""
        return hmac.compare_digest(self._value.encode(), given.encode())

    def __repr__(self) -> str:
        return "Secret(***)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(self._value)
