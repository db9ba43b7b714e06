"""The definitions in `crds/`, for tests that hold them against the code."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[3] / "crds"
KINDS = ("paastisapps", "paastisrules", "paastisaccounts")


@cache
def definition(plural: str) -> dict[str, Any]:
    """A whole definition."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{plural}.yaml").read_text())
    return loaded


def version(plural: str) -> dict[str, Any]:
    """Its one version."""
    (only,) = definition(plural)["spec"]["versions"]
    assert isinstance(only, dict)
    return only


def schema(plural: str, *path: str) -> dict[str, Any]:
    """The schema of a field: `schema("paastisapps", "spec", "wake")`."""
    found: dict[str, Any] = version(plural)["schema"]["openAPIV3Schema"]
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
    return found


def fields(plural: str, *path: str) -> set[str]:
    """The names of an object's fields."""
    return set(schema(plural, *path)["properties"])


def parts(known: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema within a schema, with its path."""
    yield path, known
    for name, part in known.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for within in ("items", "additionalProperties"):
        if within in known:
            yield from parts(known[within], f"{path}[]")


def problems(value: Any, known: Mapping[str, Any], path: str = "") -> list[str]:
    """What the server would prune from a value or refuse in it, rules aside."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    kind = kinds.get(known["type"], (int, float))
    if not isinstance(value, kind):
        return [f"{path}: {value!r} is no {known['type']}"]
    found = []
    if "enum" in known and value not in known["enum"]:
        found.append(f"{path}: {value!r} is none of {known['enum']}")
    if isinstance(value, dict):
        for name, part in value.items():
            within = known.get("properties", {}).get(name, known.get("additionalProperties"))
            if within is None:
                found.append(f"{path}.{name} is not in the schema")
            else:
                found += problems(part, within, f"{path}.{name}")
        found += [
            f"{path}.{name} is missing" for name in known.get("required", ()) if name not in value
        ]
    elif isinstance(value, list):
        for part in value:
            found += problems(part, known["items"], f"{path}[]")
    elif isinstance(value, str) and len(value) > known.get("maxLength", len(value)):
        found.append(f"{path}: {len(value)} characters")
    elif isinstance(value, int | float) and value < known.get("minimum", value):
        found.append(f"{path}: {value} is too small")
    return found
