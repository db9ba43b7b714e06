"""What can go wrong, sorted by whose fault it is and what to do next.

Callers react to the class alone. Messages are sentences for people and never hold a secret.
"""

from collections.abc import Sequence
from datetime import timedelta


class PaastisError(Exception):
    """Root of everything that paastis raises on purpose."""


class ConfigError(PaastisError):
    """The configuration is wrong: fix it and start again (exit code 2).

    `problems` holds one sentence each: where, what was given, what is expected.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class ProviderError(PaastisError):
    """A provider call did not do what was asked. Nothing else escapes an adapter."""


class Unauthorized(ProviderError):
    """The provider refuses our credentials: a person must replace them."""


class NotFound(ProviderError):
    """The app, or the part of it that was named, does not exist there any more."""


class Rejected(ProviderError):
    """The provider understood and refused: the same call will be refused again.

    The call certainly had no effect.
    """


class Busy(ProviderError):
    """Something else is in progress on that app: wait for it, then ask again.

    The call certainly had no effect.
    """


class RateLimited(ProviderError):
    """Too many calls: nothing may be sent before `retry_after` is over.

    The call certainly had no effect.
    """

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ProviderError):
    """The provider could not be reached, so the call certainly had no effect: try later."""


class AnswerLost(ProviderError):
    """The call left us but no usable answer came back: it may or may not take effect."""


class RegistryError(PaastisError):
    """The registry did not do what was asked."""


class Conflict(RegistryError):
    """Somebody changed the record first: read it again and decide again."""


class UnknownApp(RegistryError):
    """The registry holds no record of that name."""


class RegistryUnavailable(RegistryError):
    """The registry cannot be read or written now; a write may or may not have happened."""


class Forgotten(RegistryError):
    """The registry does not know this proxy any more: stops no longer wait for it. Register again."""


class Missing(RegistryError):
    """The Kubernetes API knows no such object, or no such kind: it was deleted, or never made."""


class Forbidden(RegistryError):
    """The Kubernetes API does not let us do that: a person must give us the right."""


class Refused(RegistryError):
    """The Kubernetes API understood and refused: the same call will be refused again."""


class Expired(RegistryError):
    """The Kubernetes API has no history from that version on any more: list again."""
