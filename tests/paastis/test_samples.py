"""The sample files are what they claim to be."""

import re
from pathlib import Path

import pytest

from paastis.config import load_config, read_config
from paastis.config.environment import VARIABLES, environment_table, sample_env

ROOT = Path(__file__).parents[2]
ENV = {"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": "tk"}


def test_sample_env_is_made_from_the_table_of_variables() -> None:
    assert (ROOT / "sample.env").read_text() == sample_env()


def test_sample_env_names_every_variable_with_its_meaning() -> None:
    text = sample_env()

    for name, variable in VARIABLES.items():
        assert len(re.findall(rf"^#?{name}=", text, re.MULTILINE)) == 1
        assert variable.meaning
        assert variable.example


def test_sample_env_with_a_token_is_a_working_configuration(tmp_path: Path) -> None:
    text = (ROOT / "sample.env").read_text()
    (tmp_path / ".env").write_text(
        text.replace("PROVIDER_SCALINGO_API_TOKEN=", "PROVIDER_SCALINGO_API_TOKEN=tk")
    )

    config = read_config(tmp_path, environ={})

    assert config == load_config(environ=ENV, dotenv={}, rules_text=None, rules_path=None)


def test_sample_env_with_every_default_uncommented_is_a_working_configuration(
    tmp_path: Path,
) -> None:
    text = re.sub(r"^#(?=[A-Z_]+=)", "", (ROOT / "sample.env").read_text(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text)
    (tmp_path / "paastis.yml").touch()

    config = read_config(tmp_path, environ=ENV)

    assert config.warnings == ()


@pytest.mark.parametrize("registry", ["in-memory", "kubernetes"])
def test_every_example_of_the_table_is_valid(registry: str) -> None:
    examples = {
        name: variable.example for name, variable in VARIABLES.items() if name != "PAASTIS_CONFIG"
    }
    assert examples["REGISTRY_TYPE"] == "kubernetes"
    examples["REGISTRY_TYPE"] = registry

    config = load_config(environ=examples, dotenv={}, rules_text=None, rules_path=None)

    # In a cluster accounts are resources: that the variables for one do nothing is worth telling.
    useless = [warning.partition(" do nothing ")[0] for warning in config.warnings]
    assert [names.startswith("PROVIDER_NAME, ") for names in useless] == (
        [True] if registry == "kubernetes" else []
    )


def test_table_has_a_row_for_every_variable() -> None:
    rows = environment_table().splitlines()

    assert len(rows) == len(VARIABLES) + 2
    assert all(row.count("|") == 5 for row in rows)


def test_sample_rules_are_valid_as_they_are() -> None:
    text = (ROOT / "paastis.yml.sample").read_text()

    config = load_config(environ=ENV, dotenv={}, rules_text=text, rules_path="paastis.yml.sample")

    assert len(config.rules) == 4


def test_sample_rules_are_valid_with_their_commented_parts() -> None:
    text = (ROOT / "paastis.yml.sample").read_text()
    uncommented = re.sub(r"^( *)# ( *(?:- )?[a-z_]+:|  )", r"\1\2", text, flags=re.MULTILINE)

    config = load_config(
        environ={**ENV, "REVIEWS_TOKEN": "tk"},
        dotenv={},
        rules_text=uncommented,
        rules_path="paastis.yml.sample",
    )

    assert len(config.rules) == 5
    assert [account.name for account in config.accounts] == ["reviews", "scalingo"]
