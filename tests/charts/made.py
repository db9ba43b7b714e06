"""What of the chart is made from something else, so that everything is written down once.

- its `crds/` are those of the project;
- what `values.schema.json` says about an account or a rule is what their definitions say;
- the README's table of values is made from the comments of `values.yaml`, and from those two.

`python -m tests.charts` renews all three.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "paastis"
CRDS = ROOT / "crds"
BEGIN = "<!-- begin: values, by python -m tests.charts -->\n"
END = "<!-- end: values -->"

_CREDENTIALS: Mapping[str, Any] = {
    "description": "Where the API token is.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "existingSecret": {
            "description": "A Secret of the namespace, with the key `apiToken`.",
            "type": "string",
        },
        "apiToken": {
            "description": "The token itself, instead; it becomes a Secret.",
            "type": "string",
        },
    },
}
# Defaults are added by the API server; formats and rules of Kubernetes mean nothing to helm.
_KEPT = (
    "description", "type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems",
)  # fmt: skip
# A rule that says this and perhaps more; helm and the API server mean the same by a pattern.
_MATCHES = re.compile(r"self\.matches\('([^'\\]*)'\)\s*(?:&&|$)")


# --- definitions -------------------------------------------------------------------------------


def crd_copies() -> dict[str, str]:
    """File name → text, as the chart's `crds/` should be."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(CRDS.glob("*.yaml"))}


def spec_schema(plural: str) -> dict[str, Any]:
    """What a definition says about the spec of its resources, in the JSON schema of values."""
    definition = yaml.safe_load((CRDS / f"{plural}.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    return _strict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


def _strict(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same, refusing what it does not know: the API server would drop it without a word."""
    schema = {key: given[key] for key in _KEPT if key in given}
    for rule in given.get("x-kubernetes-validations", ()):
        if match := _MATCHES.match(rule["rule"]):
            schema.setdefault("pattern", match[1])
    if given.get("x-kubernetes-int-or-string"):
        schema["type"] = ["integer", "string"]
    if "items" in given:
        schema["items"] = _strict(given["items"])
    if "properties" in given:
        schema["additionalProperties"] = False
        schema["properties"] = {
            name: _strict(inner) for name, inner in sorted(given["properties"].items())
        }
        if "required" in given:
            schema["required"] = given["required"]
    elif isinstance(given.get("additionalProperties"), dict):
        schema["additionalProperties"] = _strict(given["additionalProperties"])
    return schema


def account_schema() -> dict[str, Any]:
    """An account of the values: its spec, with the token or its Secret in the reference's place."""
    schema = spec_schema("paastisaccounts")
    del schema["properties"]["credentialsSecretRef"]
    schema["properties"]["credentials"] = dict(_CREDENTIALS)
    schema["properties"] = dict(sorted(schema["properties"].items()))
    schema["required"] = ["credentials", "provider"]
    return schema


def values_schema() -> str:
    """The text of `values.schema.json` as it should be."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    schema["definitions"]["account"] = account_schema()
    schema["definitions"]["rule"] = spec_schema("paastisrules")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


# --- the README --------------------------------------------------------------------------------


def readme() -> str:
    """The text of the chart's README as it should be."""
    before, _, rest = (CHART / "README.md").read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_table()}\n{END}{after}"


def _table() -> str:
    lines = ["| Value | Meaning | Default |", "|---|---|---|"]
    for name, meaning, default in _rows():
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | {meaning} | {shown} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[tuple[str, str, str]]:
    definitions = json.loads(values_schema())["definitions"]
    for name, meaning, default in documented_values():
        yield name, meaning, default
        if name == "accounts":
            yield from _fields("accounts.NAME", definitions["account"])
        elif name == "rules":
            yield from _fields("rules.NAME", definitions["rule"])


def _fields(prefix: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        needed = " Required." if name in schema.get("required", ()) else ""
        meaning = " ".join(field["description"].split()).replace("|", "\\|")
        yield f"{prefix}.{name}", f"{meaning}{needed}", ""
        if field is not None and name == "credentials":
            yield from _fields(f"{prefix}.{name}", field)


def documented_values() -> Iterator[tuple[str, str, str]]:
    """Path, meaning and default (JSON; empty for a group) of each value, in their order."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    yield from _documented(yaml.compose(text), text.splitlines(), "")


def _documented(node: Any, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        meaning = _comment_above(lines, key.start_mark.line)
        is_group = (
            isinstance(value, yaml.MappingNode)
            and bool(value.value)
            and bool(_comment_above(lines, value.value[0][0].start_mark.line))
        )
        if is_group:
            if meaning:
                yield path, meaning, ""
            yield from _documented(value, lines, f"{path}.")
        else:
            default = yaml.safe_load(yaml.serialize(value))
            yield path, meaning, json.dumps(default, ensure_ascii=False)


def _comment_above(lines: list[str], line: int) -> str:
    """The sentences right above a line, without an example."""
    first = line
    while first > 0 and re.match(r"\s*#(?! ---)", lines[first - 1]):
        first -= 1
    words = [text.strip().removeprefix("#").strip() for text in lines[first:line]]
    if "Example:" in words:
        words = words[: words.index("Example:")]
    return " ".join(words)
