"""The chart's copies are copies, and its values are described."""

from __future__ import annotations

import json
from typing import Any

import yaml

from paastis import __version__
from tests.charts import made

RENEW = "run: .venv/bin/python -m tests.charts"
VALUES = yaml.safe_load((made.CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((made.CHART / "values.schema.json").read_text(encoding="utf-8"))


def test_chart_installs_the_definitions_of_this_version() -> None:
    copies = {path.name: path.read_text() for path in (made.CHART / "crds").iterdir()}

    assert copies == made.crd_copies(), RENEW


def test_schema_knows_accounts_and_rules_as_their_definitions_do() -> None:
    assert (made.CHART / "values.schema.json").read_text() == made.values_schema(), RENEW


def test_readme_lists_each_value() -> None:
    assert (made.CHART / "README.md").read_text() == made.readme(), RENEW


def test_each_value_is_described() -> None:
    assert [name for name, meaning, _ in made.documented_values() if not meaning] == []


def test_chart_is_that_of_this_version() -> None:
    chart = yaml.safe_load((made.CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert chart["appVersion"] == __version__


def test_schema_names_the_values_and_no_others() -> None:
    assert _paths_of(SCHEMA) - {"global"} == _paths(VALUES, SCHEMA)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        resolved: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
        return resolved
    return schema


def _paths(values: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Of what the schema looks into; a probe's settings may be given or not."""
    found = set()
    for name, value in values.items():
        inner = schema.get("properties", {}).get(name, {})
        found.add(f"{prefix}{name}")
        if "properties" in inner and value:
            found |= _paths(value, inner, f"{prefix}{name}.")
    return found


def _paths_of(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found.add(f"{prefix}{name}")
        if f"{prefix}{name}" != "httpRoute.timeouts":  # empty unless somebody wants them
            found |= _paths_of(inner, f"{prefix}{name}.")
    return found
