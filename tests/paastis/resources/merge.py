"""Merge patches as RFC 7386 has them, for tests that compare what a patch leaves."""

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """What the patch makes of the target."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
