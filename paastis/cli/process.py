"""What every program of ours asks of its operating system."""

import asyncio
import resource
import signal


def allow_many_connections() -> None:
    """A held visitor is an open file: take as many as the system gives without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGINT and SIGTERM set the event: everything ends in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
