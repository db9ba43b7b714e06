"""Whether a call that changes something may still leave.

Whoever leads may lose that right at any time, and a call may wait for its turn after it was decided.
So the one HTTP client asks here once more, right before a changing request is sent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from paastis.errors import ProviderError

Outlives = Callable[[timedelta], bool]
"""Whether the right to act lasts at least that long from now."""

_FENCE: ContextVar[Outlives | None] = ContextVar("paastis provider fence", default=None)


class Fenced(ProviderError):
    """The right to act would end before the call could: it was not sent, and had no effect."""


@contextmanager
def fence(outlives: Outlives) -> Iterator[None]:
    """Let changing calls leave only while `outlives` says so; for this task and those it starts."""
    token = _FENCE.set(outlives)
    try:
        yield
    finally:
        _FENCE.reset(token)


def check_fence(span: timedelta) -> None:
    """Raise `Fenced` unless a changing call that takes up to `span` may leave now."""
    outlives = _FENCE.get()
    if outlives is not None and not outlives(span):
        raise Fenced("The right to act ends too soon for the call.")
