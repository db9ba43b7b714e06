"""What the documents say is true of the code: settings, commands, rules, addresses, files.

`python -m tests.test_documents` writes what is made from the code: `sample.env` and the README's
table of variables.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paastis import __version__
from paastis.cli import main
from paastis.config import load_config
from paastis.config.environment import VARIABLES, environment_table, sample_env
from paastis.resources.rule import rule_from
from paastis.system.openapi import openapi_document

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BEGIN = "<!-- begin: variables, from paastis.config.environment.environment_table() -->\n"
END = "<!-- end: variables -->"

HOOKS_SEE = {
    "PAASTIS_APP_NAME", "PAASTIS_APP_ID", "PAASTIS_ACCOUNT", "PAASTIS_PROVIDER", "PAASTIS_REGION",
    "PAASTIS_PHASE", "PAASTIS_REASON",
}  # fmt: skip
"""Variables that paastis gives to hooks, and that nobody sets."""


def with_table(readme: str) -> str:
    """The README with the table of variables as the code has it now."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{environment_table()}\n{END}{after}"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    """Every command of ours that the README tells people to type."""
    for block in blocks(README, "shell"):
        for line in block.splitlines():
            yield from re.findall(
                r"(?:^|\s)(paastis (?!paastis|charts/)[a-z][^#|]*)", line.partition("#")[0]
            )
    # Helm releases have the same name, and what comes behind a pipe is another program.
    yield from re.findall(r"`(?:[A-Z_]+=\S+ )?(paastis (?!charts/)[a-z][^`|]*)", README)


# --- settings ---------------------------------------------------------------------------------


def test_readme_has_the_table_of_all_variables() -> None:
    assert with_table(README) == README, "run: python -m tests.test_documents"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_no_setting_that_does_not_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    named = set(
        re.findall(r"\b(?:PAASTIS|PROVIDER|REGISTRY|ROUTING|HOOKS|LOGGING|START)_[A-Z_]+", text)
    )

    assert named <= {*VARIABLES, *HOOKS_SEE}


# --- commands ---------------------------------------------------------------------------------


def test_readme_shows_every_command() -> None:
    named = {command.split()[1] for command in commands()}

    assert named >= set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_of_the_readme_exist_with_their_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, f"no command {words[0]!r}"
        command = inner
        del words[0]

    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_no_make_target_that_does_not_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))

    assert named <= targets


# --- rules ------------------------------------------------------------------------------------


MANIFESTS = [text for text in blocks(README, "yaml") if text.startswith("apiVersion:")]


@pytest.mark.parametrize("text", MANIFESTS)
def test_rule_manifests_of_the_readme_say_what_they_mean(text: str) -> None:
    rule, problems = rule_from(yaml.safe_load(text))

    assert rule is not None
    assert problems == ()


@pytest.mark.parametrize("text", [it for it in blocks(README, "yaml") if it not in MANIFESTS])
def test_rules_of_the_readme_are_valid(text: str) -> None:
    config = load_config(
        environ={"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": "tk"},
        dotenv={},
        rules_text=text,
        rules_path="paastis.yml",
    )

    assert config.rules
    assert config.warnings == ()


# --- system API -------------------------------------------------------------------------------


def test_readme_lists_the_system_api_as_it_is() -> None:
    paths = openapi_document()["paths"]
    offered = {
        f"{method.upper()} {path}"
        for path, item in paths.items()
        for method in item
        if method in {"get", "post", "delete"} and path not in {"/healthz", "/readyz", "/metrics"}
    }

    told = set(re.findall(r"^\| `((?:GET|POST|DELETE) /[^`]*)`", README, re.MULTILINE))

    assert told == offered


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]

    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_contributing_names_modules_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    named = re.findall(r"`((?:paastis|controller|proxy|tests)/[\w./]*)`", text)

    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)


def test_version_is_the_one_that_was_installed() -> None:
    assert version("paastis") == __version__


# --- image ------------------------------------------------------------------------------------


def test_image_serves_the_default_ports_and_keeps_its_state_in_its_volume() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ports = f"{VARIABLES['PORT'].default} {VARIABLES['ROUTING_SYSTEM_API_PORT'].default}"

    assert f"EXPOSE {ports}\n" in text
    assert "VOLUME /data\n" in text
    assert "REGISTRY_STATE_FILE=/data/" in text


def test_image_runs_as_a_user_that_is_not_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)[-1] != "0"


# --- versions ---------------------------------------------------------------------------------


def pinned() -> dict[str, str]:
    """Names and versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): number for name, number in pairs}


def required() -> list[Requirement]:
    """What pyproject.toml asks for, for running, testing and building."""
    project = PYPROJECT["project"]
    groups = [line for lines in PYPROJECT["dependency-groups"].values() for line in lines]
    building = PYPROJECT["build-system"]["requires"]
    return [Requirement(line) for line in (*project["dependencies"], *groups, *building)]


@pytest.mark.parametrize("requirement", required(), ids=lambda one: one.name)
def test_tested_versions_satisfy_what_the_project_asks_for(requirement: Requirement) -> None:
    tested = pinned().get(canonicalize_name(requirement.name))

    assert tested is not None, "run: make constraints"
    assert requirement.specifier.contains(tested)


if __name__ == "__main__":
    (ROOT / "sample.env").write_text(sample_env(), encoding="utf-8")
    (ROOT / "README.md").write_text(with_table(README), encoding="utf-8")
