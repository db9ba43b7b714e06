"""The terminal that people read."""

import sys

from rich.console import Console

LEAST_WIDTH = 132
"""Columns of a table that tells everything."""


def open_console() -> Console:
    """Standard output. Tables are never squeezed: a narrow terminal wraps their lines, and what
    goes into a pipe or file keeps its full width, line by line as it is told."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    width = max(Console().width, LEAST_WIDTH)
    return Console(highlight=False, width=width)
