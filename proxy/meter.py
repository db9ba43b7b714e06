"""What the proxy counts, as a port: metrics may listen, and need not."""

from typing import Protocol


class Meter(Protocol):
    """Called at each event; must be quick and must not raise."""

    def answered(self, *, outcome: str, state: str) -> None:
        """A request ended.

        `outcome`: forwarded, page, refused, failed, own or cancelled. `state`: of the app, as
        visitors are told (awake, woken, waking), or none.
        """

    def opened(self, step: int) -> None:
        """That many more (+1) or fewer (-1) requests are open to apps."""

    def held(self, step: int) -> None:
        """That many more or fewer requests wait for an app."""

    def woke(self, seconds: float) -> None:
        """A held request was released after so long."""

    def wake_asked(self) -> None:
        """A wake was asked for."""

    def access_written(self, *, ok: bool) -> None:
        """An access was written, or could not be."""


class Silent:
    """Counts nothing."""

    def answered(self, *, outcome: str, state: str) -> None:
        """See `Meter`."""

    def opened(self, step: int) -> None:
        """See `Meter`."""

    def held(self, step: int) -> None:
        """See `Meter`."""

    def woke(self, seconds: float) -> None:
        """See `Meter`."""

    def wake_asked(self) -> None:
        """See `Meter`."""

    def access_written(self, *, ok: bool) -> None:
        """See `Meter`."""
