"""Imports point down, and each outside library has one door: the contracts of pyproject.toml.

They are checked on the code as it is, and each is shown to break on an import that somebody might
be tempted to write.
"""

import ast
import logging
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from importlinter.application.use_cases import read_user_options
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parent.parent
PYPROJECT = str(ROOT / "pyproject.toml")
KINDS = {"forbidden": ForbiddenContract, "layers": LayersContract}


@pytest.fixture(autouse=True)
def loggers_stay_on() -> Iterator[None]:
    """The linter configures logging for a program of its own, which turns all our loggers off."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Every import of ours, with those of other people's packages."""
    return grimp.build_graph(
        "paastis", "controller", "proxy", include_external_packages=True, cache_dir=None
    )


def broken(imports: grimp.ImportGraph) -> set[str]:
    """The ids of the contracts that these imports break."""
    options = read_user_options(PYPROJECT)
    ids = set()
    for contract_options in options.contracts_options:
        given = {key: value for key, value in contract_options.items() if key != "type"}
        kind = KINDS[contract_options["type"]]
        contract = kind(contract_options["name"], options.session_options, given)
        if not contract.check(deepcopy(imports), verbose=False).kept:
            ids.add(contract_options["id"])
    return ids


def test_imports_keep_the_contracts() -> None:
    code = lint_imports(config_filename=PYPROJECT, no_cache=True, no_logo=True)

    assert code == EXIT_STATUS_SUCCESS


TEMPTING = [
    ("controller.reconciler", "paastis.cli", "layers"),
    ("controller.reconciler", "proxy.routes", "layers"),
    ("proxy.routes", "controller.reconciler", "layers"),
    ("paastis.system.server", "proxy.routes", "layers"),
    ("paastis.registry.memory", "paastis.system.server", "layers"),
    ("paastis.registry.memory", "paastis.providers.port", "layers"),
    ("paastis.providers.port", "paastis.registry.port", "layers"),
    ("paastis.simulate.world", "paastis.providers.http", "layers"),
    ("paastis.providers.http", "paastis.simulate.world", "layers"),
    ("paastis.decide", "controller.reconciler", "core"),
    ("paastis.decide", "proxy.routes", "core"),
    ("paastis.decide", "paastis.registry.port", "core"),
    ("paastis.config", "paastis.providers.scalingo", "core"),
    ("paastis.plan", "paastis.simulate.world", "core"),
    ("paastis.app", "paastis.cli", "core"),
    ("paastis.app", "paastis.system.server", "core"),
    ("paastis.decide", "asyncio", "pure"),
    ("paastis.decide", "time", "pure"),
    ("paastis.schedule", "random", "pure"),
    ("paastis.config", "aiohttp", "pure"),
    ("paastis.reasons", "prometheus_client", "pure"),
    ("paastis.decide", "paastis.metrics", "core"),
    ("paastis.providers.scalingo", "httpx", "provider-client"),
    ("controller.reconciler", "httpx", "provider-client"),
    ("controller.reconciler", "sqlite3", "state-file"),
    ("paastis.rule", "cronsim", "cron"),
    ("controller.reconciler", "kubernetes", "cluster"),
    ("paastis.registry.memory", "kopf", "cluster"),
    ("paastis.system.server", "click", "terminal"),
    ("controller.reconciler", "rich", "terminal"),
    ("proxy.upstream", "paastis.providers.http", "visitors"),
    ("proxy.upstream", "paastis.providers.scalingo", "visitors"),
    ("proxy.routes", "aiohttp", "lane"),
    ("proxy.waker", "proxy.upstream", "lane"),
]


@pytest.mark.parametrize(("importer", "imported", "contract"), TEMPTING)
def test_tempting_import_breaks_its_contract(
    imports: grimp.ImportGraph, importer: str, imported: str, contract: str
) -> None:
    assert importer in imports.modules
    tempted = deepcopy(imports)
    if imported not in tempted.modules:
        tempted.add_module(imported, is_squashed=True)
    tempted.add_import(importer=importer, imported=imported, line_number=1, line_contents="import")

    assert contract in broken(tempted)


def test_every_contract_is_shown_to_break() -> None:
    contracts = {contract["id"] for contract in read_user_options(PYPROJECT).contracts_options}

    assert contracts == {contract for _, _, contract in TEMPTING}


CLOCKS = {"now", "utcnow", "today"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "paastis").glob("*.py")), ids=lambda path: path.stem
)
def test_core_module_reads_no_clock(path: Path) -> None:
    calls = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in CLOCKS
        and ast.unparse(node.value) in {"datetime", "date", "datetime.datetime", "datetime.date"}
    ]

    assert not calls
