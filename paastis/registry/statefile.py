"""The SQLite file that keeps the records over a restart.

Everything here blocks: it belongs on the one thread that writes. A lock on a file beside it keeps
a second paastis away; the system releases it however the process ends, so it is never stale.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from paastis.app import App
from paastis.errors import ConfigError, RegistryUnavailable
from paastis.registry.codec import BadRecord, decode

SCHEMA = 1
"""Raised when a file written now could not be read by an older paastis."""

BUSY_SECONDS = 5.0
"""How long a write waits for somebody who reads the file with SQLite's own tools."""

_CREATE = (
    "CREATE TABLE version (schema INTEGER NOT NULL, position INTEGER NOT NULL)",
    "CREATE TABLE apps (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
)


class StateFile:
    """An open state file. Make it with `StateFile.open`."""

    def __init__(self, path: Path, lock: int, database: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._database = database
        self.fresh = False
        """Whether there was nothing before."""
        self.records: Mapping[str, App] = MappingProxyType({})
        """What it held when it was opened, by name."""
        self.position = 0
        """Version of the last write before it was opened."""

    @classmethod
    def open(cls, path: Path) -> "StateFile":
        """Lock, check and read the file, or make it.

        Raises `ConfigError` if it cannot be used; the sentence says what to do.
        """
        lock = _take_lock(path)
        try:
            database = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                state = cls(path, lock, database)
                state._prepare()
            except BaseException:
                database.close()
                raise
        except BaseException as error:
            os.close(lock)
            if isinstance(error, sqlite3.Error | OSError):
                raise _unusable(path, f"SQLite says: {error}") from error
            raise
        return state

    def _prepare(self) -> None:
        # FULL: a commit is on the disk when it returns, also if the power fails.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _unusable(self._path, f"it is damaged ({verdict})")
        tables = {
            name
            for (name,) in self._database.execute(
                "SELECT name FROM sqlite_schema WHERE type='table'"
            )
        }
        if not tables:
            self._database.execute("BEGIN IMMEDIATE")
            for statement in _CREATE:
                self._database.execute(statement)
            self._database.execute(
                "INSERT INTO version (schema, position) VALUES (?, 0)", (SCHEMA,)
            )
            self._database.execute("COMMIT")
            self.fresh = True
            return
        if not {"version", "apps"} <= tables:
            raise _unusable(self._path, "it is a database of something else")
        found = self._database.execute("SELECT schema, position FROM version").fetchone()
        if found is None:
            raise _unusable(self._path, "it does not say its version")
        schema, position = found
        if schema > SCHEMA:
            raise ConfigError(
                f"REGISTRY_STATE_FILE: {self._path} was written by a newer paastis (file version "
                f"{schema}, this one reads up to {SCHEMA}); use that paastis or another file."
            )
        self.position = position
        self.records = MappingProxyType(self._read())

    def _read(self) -> dict[str, App]:
        records: dict[str, App] = {}
        for name, text in self._database.execute("SELECT name, record FROM apps"):
            try:
                records[name] = decode(text)
            except BadRecord as error:
                raise _unusable(self._path, f"its record {name!r} is damaged ({error})") from error
        return records

    def commit(self, rows: Mapping[str, str | None], *, position: int) -> None:
        """Write encoded records in one transaction (None: removed), durable when this returns.

        Raises `RegistryUnavailable`; then nothing was written, or, if the disk failed in the very
        last step, everything may have been.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(
                    "INSERT INTO apps (name, record) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                    [row for row in rows.items() if row[1] is not None],
                )
                self._database.executemany(
                    "DELETE FROM apps WHERE name = ?",
                    [(name,) for name, record in rows.items() if record is None],
                )
                self._database.execute("UPDATE version SET position = ?", (position,))
                self._database.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them.
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise RegistryUnavailable(
                f"The state file {self._path} could not be written: {error}."
            ) from error

    def close(self) -> None:
        """Release the file and its lock."""
        try:
            self._database.close()
        finally:
            os.close(self._lock)


def _take_lock(path: Path) -> int:
    """A descriptor that holds the lock until it is closed."""
    beside = path.with_name(path.name + ".lock")
    try:
        # Never removed: whoever waits for a removed file and whoever makes a new one would both
        # believe that they hold the lock.
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, f"{beside} could not be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigError(
            f"REGISTRY_STATE_FILE: {path} is in use by another paastis; stop that one, or give "
            "this one a file of its own."
        ) from error
    except OSError as error:
        os.close(lock)
        raise _unusable(path, f"{beside} could not be locked: {error.strerror}") from error
    return lock


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"REGISTRY_STATE_FILE: {path} cannot be used: {why}. Expected is a file that paastis wrote, "
        "or a path in a directory where it may make one."
    )
