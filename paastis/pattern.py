"""Regular expressions from people: compiled once, bounded, and kept from taking for ever.

Python's matcher backtracks, so a few innocent-looking patterns take exponential time on the wrong
text (`(a+)+b`). Three limits keep a match short: the length of the pattern, the number of open
repeats in it (`*`, `+`, `{2,}`) and of optional parts, and no repeat of a group that itself repeats
or chooses, unless each round begins with a character that occurs nowhere else in the group, as in
`(-[a-z0-9]+)*`. This is a fence against accidents, not a proof: whoever writes patterns is trusted
with the configuration anyway. Callers that match what strangers send must also cut its length.

Named groups may be written `(?<name>…)`, as in JavaScript, or `(?P<name>…)`.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

LONGEST_PATTERN = 200
"""Characters."""
MOST_OPEN_REPEATS = 5
"""For names of apps, which are short."""
MOST_OPEN_REPEATS_ON_VISITS = 3
"""For what visitors send, which is longer."""
_MOST_OPTIONAL = 12
_FEW_ROUNDS = 3

_TOKEN = re.compile(
    r"""
      (?P<atom>\\. | \[\^?\]?(?:\\.|[^\]\\])*\] | [^\\()|?*+{\[])
    | (?P<open>\( (?:\?(?:P?<[A-Za-z_]\w*>|P=\w+|:|>|=|!|<=|<!|\([^)]*\)|[a-zA-Z-]+:?|\#[^)]*))? )
    | (?P<close>\))
    | (?P<choice>\|)
    | (?P<repeat>(?:[*+?]|\{\d*,?\d*\})[?+]?)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_JAVASCRIPT_NAME = re.compile(r"\(\?<(?=[A-Za-z_])")


@dataclass(slots=True)
class _Group:
    """What a group holds, as far as repeating it is concerned."""

    atoms: list[str] = field(default_factory=list)
    varies: bool = False
    """Something in it repeats or is a choice."""
    deep: bool = False
    """It holds a group, or a choice."""

    def separated(self) -> bool:
        """Whether each round must begin with a character that nothing else in it matches."""
        if self.deep or not self.atoms:
            return False
        first = self.atoms[0][-1] if self.atoms[0].startswith("\\") else self.atoms[0]
        if len(first) != 1 or first.isalnum() or first in ".^$":
            return False
        return not any(re.fullmatch(atom, first) for atom in self.atoms[1:])


@lru_cache(maxsize=4096)
def compile_pattern(
    text: str, *, flags: int = 0, most_open_repeats: int = MOST_OPEN_REPEATS
) -> re.Pattern[str]:
    """Compile it, or raise ValueError with a sentence saying what is wrong."""
    if not text:
        raise ValueError("an empty pattern matches nothing; expected a regular expression")
    if len(text) > LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(text)} characters; expected at most {LONGEST_PATTERN}")
    python, problem = _examine(text, most_open_repeats)
    try:
        compiled = re.compile(python, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    except (DeprecationWarning, FutureWarning) as warning:
        # Only where warnings are errors: dubious syntax is no reason to fall over.
        raise ValueError(f"{text!r} is a dubious regular expression: {warning}") from None
    if problem:
        raise ValueError(f"{text!r} could take for ever to match: {problem}")
    return compiled


def _examine(text: str, most_open_repeats: int) -> tuple[str, str | None]:
    """The pattern in Python's syntax, and what could make it slow."""
    groups = [_Group()]
    closed: _Group | None = None  # the group that ended right before this token
    python: list[str] = []
    open_repeats = optional = 0
    problem = None
    for token in _TOKEN.finditer(text):
        kind, part = token.lastgroup, token.group()
        python.append(_JAVASCRIPT_NAME.sub("(?P<", part) if kind == "open" else part)
        before, closed = closed, None
        if kind == "atom":
            groups[-1].atoms.append(part)
        elif kind == "open":
            groups[-1].deep = True
            groups.append(_Group())
        elif kind == "close" and len(groups) > 1:
            closed = groups.pop()
            groups[-1].varies |= closed.varies
        elif kind == "choice":
            groups[-1].varies = groups[-1].deep = True
        elif kind == "repeat":
            optional += _is_optional(part)
            open_repeats += _is_open(part)
            if before is not None and before.varies and _is_many(part) and not before.separated():
                problem = "it repeats a group which itself repeats or chooses"
            groups[-1].varies |= _is_optional(part) or _is_open(part)
    if open_repeats > most_open_repeats:
        problem = f"it has {open_repeats} open repeats; expected at most {most_open_repeats}"
    elif optional > _MOST_OPTIONAL:
        problem = f"it has {optional} optional parts; expected at most {_MOST_OPTIONAL}"
    return "".join(python), problem


def _is_optional(repeat: str) -> bool:
    return repeat[0] == "?"


def _is_many(repeat: str) -> bool:
    """Whether there may be so many rounds that choices within them multiply."""
    return _is_open(repeat) or (repeat[0] == "{" and int(repeat.strip("{}?+") or 0) > _FEW_ROUNDS)


def _is_open(repeat: str) -> bool:
    """Whether the number of rounds varies; `{3}` is just a longer pattern."""
    return repeat[0] in "*+" or "," in repeat
