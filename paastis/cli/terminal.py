"""The terminal that people read."""

import os
import sys

from rich.console import Console

LEAST_WIDTH = 132
"""Columns of a table that tells everything."""


class _Terminal(Console):
    """Standard output, whose reader may leave."""

    def on_broken_pipe(self) -> None:
        """The reader left, as with `| head`: say nothing more, and go on with the work.

        rich would end the program, and with `paastis run` everybody's way to their apps.
        """
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the flush at the end fails once more
        os.close(nowhere)


def open_console() -> Console:
    """Standard output. Tables are never squeezed: a narrow terminal wraps their lines, and what
    goes into a pipe or file keeps its full width, line by line as it is told."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    width = max(Console().width, LEAST_WIDTH)
    return _Terminal(highlight=False, width=width)
