"""The state file: what it refuses, and with which sentence."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from paastis.errors import ConfigError
from paastis.registry.codec import encode
from paastis.registry.memory import MemoryRegistry
from paastis.registry.statefile import SCHEMA, StateFile
from tests.paastis.registry.contract import an_app


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paastis.db"


def refusal(path: Path) -> str:
    """The sentence with which the file is refused."""
    with pytest.raises(ConfigError) as caught:
        StateFile.open(path)
    (sentence,) = caught.value.problems
    assert sentence.startswith("REGISTRY_STATE_FILE: ")
    assert str(path) in sentence
    return sentence


def filled(path: Path) -> None:
    state = StateFile.open(path)
    state.commit({f"app-{n}": encode(an_app(f"app-{n}")) for n in range(200)}, position=200)
    state.close()


def test_new_file_is_fresh_and_an_old_one_is_not(path: Path) -> None:
    state = StateFile.open(path)
    assert state.fresh
    state.close()
    state = StateFile.open(path)
    assert not state.fresh
    state.close()


def test_second_paastis_on_one_file_is_refused(path: Path) -> None:
    first = StateFile.open(path)
    assert "in use by another paastis" in refusal(path)
    first.close()
    StateFile.open(path).close()


def test_text_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("These are my notes, please keep them. " * 100)
    assert "cannot be used" in refusal(path)
    assert path.read_text().startswith("These are my notes")


def test_database_of_something_else_is_refused(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()
    assert "something else" in refusal(path)


def test_damaged_file_is_refused(path: Path) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    assert len(content) > 20_000
    content[8192:16384] = b"\xa5" * 8192
    path.write_bytes(content)
    refusal(path)


def test_damaged_record_is_named(path: Path) -> None:
    filled(path)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("UPDATE apps SET record = '{\"name\": 3}' WHERE name = 'app-7'")
    database.close()
    assert "'app-7'" in refusal(path)


def test_file_of_a_newer_paastis_is_refused(path: Path) -> None:
    filled(path)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("UPDATE version SET schema = ?", (SCHEMA + 1,))
    database.close()
    assert "newer paastis" in refusal(path)


def test_missing_directory_is_told(tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(tmp_path / "nowhere" / "paastis.db")


def test_directory_is_no_file(path: Path) -> None:
    path.mkdir()
    refusal(path)


def test_refused_file_is_not_left_locked(path: Path) -> None:
    path.write_text("not a database, but a letter to my aunt" * 50)
    refusal(path)
    path.unlink()
    StateFile.open(path).close()


async def test_opening_a_bad_file_tells_the_same_through_the_registry(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        await asyncio.wait_for(MemoryRegistry.open(tmp_path), 10)
