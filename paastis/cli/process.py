"""What every program of ours asks of its operating system."""

import asyncio
import ctypes
import resource
import signal

_M_MMAP_THRESHOLD = -3
"""As in glibc's malloc.h."""

_LARGE = 128 * 1024
"""Bytes; what glibc itself begins with."""


def give_large_blocks_back() -> None:
    """Have memory that was taken for something large go back to the system when that is over.

    glibc, where that is the C library, otherwise learns from the largest block it has seen to keep
    as much: with 10,000 apps, which are listed each minute, 25 MB for ever.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def allow_many_connections() -> None:
    """A held visitor is an open file: take as many as the system gives without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGINT and SIGTERM set the event: everything ends in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
