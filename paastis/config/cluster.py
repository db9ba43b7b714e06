"""What is different in a Kubernetes cluster: accounts and rules are resources there.

From the environment come the programs' own settings, and from `paastis.yml` hooks alone: who may
write a PaastisRule must not thereby run commands beside the tokens. What is given and does nothing
there is worth a sentence, not a refusal: an environment may be shared.
"""

import re
from dataclasses import replace

from paastis.config.options import ClusterConfig
from paastis.config.reader import Reader
from paastis.config.rules_file import FileContent
from paastis.config.values import shown
from paastis.policy import Settings
from paastis.rule import Hooks, Rule

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,127}")

_FOR_ACCOUNTS = (
    "PROVIDER_NAME",
    "PROVIDER_REGION",
    "PROVIDER_SCALINGO_API_TOKEN",
    "PROVIDER_SCALINGO_OPERATION_TIMEOUT",
    "PROVIDER_SCALINGO_CALLS_PER_MINUTE",
    "PROVIDER_SCALINGO_API_URL",
    "PROVIDER_SCALINGO_AUTH_URL",
    "PAASTIS_MODE",
)
"""Variables that say what a PaastisAccount says in a cluster."""


def cluster_config(reader: Reader) -> ClusterConfig:
    """Where in the cluster we are."""
    return ClusterConfig(
        namespace=reader.optional("REGISTRY_KUBERNETES_NAMESPACE", _namespace),
        pod_name=reader.optional("POD_NAME", _pod_name),
        pod_uid=reader.optional("POD_UID", _uid),
    )


def hook_rules(file: FileContent) -> tuple[Rule, ...]:
    """The file's rules as far as they count in a cluster: their hooks."""
    return tuple(replace(rule, settings=Settings()) for rule in file.rules if rule.hooks != Hooks())


def without_effect(reader: Reader, file: FileContent, file_name: str) -> tuple[str, ...]:
    """A sentence for what was given and does nothing in a cluster."""
    said = []
    if names := [name for name in _FOR_ACCOUNTS if reader.given(name)]:
        verb = "does" if len(names) == 1 else "do"
        said.append(
            f"{', '.join(names)} {verb} nothing with REGISTRY_TYPE=kubernetes: accounts are "
            "resources there (kubectl explain paastisaccount.spec)"
        )
    if file.names_accounts:
        said.append(
            f"{file_name}: its accounts do nothing with REGISTRY_TYPE=kubernetes: accounts are "
            "resources there (kubectl explain paastisaccount.spec)"
        )
    if any(rule.settings != Settings() for rule in file.rules):
        said.append(
            f"{file_name}: only the hooks of its rules count with REGISTRY_TYPE=kubernetes; "
            "`paastis rules export` makes resources of the rest"
        )
    return tuple(said)


def _namespace(given: str) -> str:
    if not _LABEL.fullmatch(given):
        raise ValueError(f"{shown(given)} is not a namespace; expected a name as in paastis")
    return given


def _pod_name(given: str) -> str:
    if not _SUBDOMAIN.fullmatch(given):
        raise ValueError(f"{shown(given)} is not the name of a Pod")
    return given


def _uid(given: str) -> str:
    if not _UID.fullmatch(given):
        raise ValueError(f"{shown(given)} is not a UID")
    return given
