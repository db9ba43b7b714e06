"""`paastis rules export`: what paastis.yml says about apps, as PaastisRule manifests."""

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from paastis.config.files import read_rules
from paastis.policy import Settings
from paastis.resources.rule import manifest_of
from paastis.rule import Hooks, Rule

STEP = 10
"""Between the priorities of neighbours, so that a rule can be put between two of them."""

_LONGEST_PLAIN = 50
"""Characters of a name that are taken from the rule's own; labels end at 63."""

# Two letters at least: `y` and `n` mean true and false to kubectl.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./-]+")


@click.group()
def rules() -> None:
    """Take the rules of paastis.yml into a cluster."""


@rules.command()
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Use this instead of ./paastis.yml.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Write this namespace into each manifest.")
def export(*, config_file: Path | None, namespace: str | None) -> None:
    """Write the rules of paastis.yml as PaastisRule manifests, for kubectl or Git.

    They give every app the same policy: later rules of the file get a higher priority. Accounts
    and hooks stay behind; a warning names the rules that have any. No token is needed.
    """
    given = {} if config_file is None else {"PAASTIS_CONFIG": str(config_file)}
    content = read_rules(Path.cwd(), environ=os.environ, overrides=given)
    for warning in left_behind(content.rules):
        click.echo(f"paastis: {warning}", err=True)
    if content.names_accounts:
        click.echo(
            "paastis: accounts are not exported, since they hold secrets; "
            "write a PaastisAccount and a Secret for each",
            err=True,
        )
    click.echo(as_yaml(manifests(content.rules, namespace=namespace)), nl=False)


def manifests(rules: Sequence[Rule], *, namespace: str | None = None) -> list[dict[str, Any]]:
    """A manifest for each rule, the weakest first; none where there would be nothing in it.

    Names depend on the rule's own name or pattern, and on those before it that would have the
    same. Priorities only on the order.
    """
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    # Stable, as where the file is used: among equals the later rule wins.
    told = [rule for rule in sorted(rules, key=lambda rule: rule.priority) if not _for_hooks(rule)]
    for number, rule in enumerate(told, start=1):
        name = resource_name(rule.name or rule.pattern, taken=taken)
        taken.add(name)
        manifest = manifest_of(replace(rule, priority=STEP * number, hooks=Hooks()), name)
        if namespace is not None:
            manifest["metadata"] = {**manifest["metadata"], "namespace": namespace}
        found.append(manifest)
    return found


def left_behind(rules: Sequence[Rule]) -> list[str]:
    """A sentence for each rule of which something is not exported; never what its hooks run."""
    return [
        f"{rule.source}: its hooks are not exported, since whoever may write a rule must not "
        "thereby run commands; keep them in the controller's own paastis.yml"
        for rule in rules
        if rule.hooks != Hooks()
    ]


def resource_name(text: str, *, taken: Collection[str]) -> str:
    """A DNS-safe name; with a short hash of the text where the plain one is taken."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    plain = plain[:_LONGEST_PLAIN].strip("-") or "rule"
    name, number = plain, 0
    while name in taken:  # ends: each round has another hash, and few are taken
        hashed = hashlib.sha256(f"{text} {number}".encode()).hexdigest()[:8]
        name, number = f"{plain}-{hashed}", number + 1
    return name


def as_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """YAML documents that every reader of YAML takes for the same."""
    return yaml.dump_all(
        documents,
        Dumper=_Dumper,
        explicit_start=True,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=1000,
    )


def _for_hooks(rule: Rule) -> bool:
    """Whether it is there for its hooks alone."""
    return rule.settings == Settings() and rule.hooks != Hooks()


class _Dumper(yaml.SafeDumper):
    """Quotes whatever some reader could take for a number, a time, true or false."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each document stands for itself."""
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are indented below their key."""
        del indentless
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(str, _text)  # members of enumerations
