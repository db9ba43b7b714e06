"""The tables that are the product, in Markdown."""

import statistics
from collections.abc import Sequence


def heading(*columns: str) -> None:
    """Begin a table."""
    row(*columns)
    row(*("---" for _ in columns))


def row(*cells: str) -> None:
    """One line of it."""
    print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201


def against(what: str, figure: float, unit: str, *, limit: float | None = None) -> None:
    """A line of a table of three columns; bold where the figure is over its limit."""
    shown = f"{figure:.{_digits(figure)}f} {unit}"
    if limit is None:
        row(what, shown, "")
    else:
        row(what, shown if figure <= limit else f"**{shown}**", f"≤ {limit:g} {unit}")


def spread(what: str, values: Sequence[float], unit: str, *, limit: float | None = None) -> None:
    """The same of many values; the limit is one for the 95th percentile."""
    middle, high, most = statistics.median(values), percentile(values, 0.95), max(values)
    digits = _digits(high)
    told = f"{middle:.{digits}f}, {high:.{digits}f}, {most:.{digits}f} {unit}"
    what = f"{what}: median, p95, most"
    if limit is None:
        row(what, told, "")
    else:
        row(what, told if high <= limit else f"**{told}**", f"p95 ≤ {limit:g} {unit}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _digits(figure: float) -> int:
    return 0 if figure >= 100 else 1 if figure >= 10 else 2
