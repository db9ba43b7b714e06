"""Where the CLI's socket is, and how it is made so that only this user can open it.

It lies beside the state file, or, without one or where that path is too long for a socket, in the
user's runtime directory.
"""

import hashlib
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paastis.errors import PaastisError

LONGEST_PATH = 100
"""Bytes. Linux takes 107 (unix(7)), macOS 103; a few are kept for the name while it is made."""


class SocketUnusable(PaastisError):
    """The socket cannot be made or trusted; the message says why."""


@dataclass(frozen=True, slots=True)
class SocketPlace:
    """Where the socket is."""

    path: Path
    warning: str | None = None
    """Why it is not where people would look for it."""


def socket_place(state_file: Path | None, env: Mapping[str, str]) -> SocketPlace:
    """Where the paastis with that state file has its socket. Touches nothing.

    `env` gives `XDG_RUNTIME_DIR` and `TMPDIR`.
    """
    if state_file is None:
        return SocketPlace(_runtime_directory(env) / "paastis.sock")
    beside = Path(os.path.abspath(f"{state_file}.sock"))  # noqa: PTH100 - keeps links as they are
    if len(os.fsencode(beside)) <= LONGEST_PATH:
        return SocketPlace(beside)
    mark = hashlib.sha256(os.fsencode(beside)).hexdigest()[:12]
    path = _runtime_directory(env) / f"paastis-{mark}.sock"
    return SocketPlace(
        path, f"The path {beside} is too long for a socket; the command line uses {path} instead."
    )


def _runtime_directory(env: Mapping[str, str]) -> Path:
    if given := env.get("XDG_RUNTIME_DIR"):
        return Path(given)
    return Path(env.get("TMPDIR") or "/tmp") / f"paastis-{os.geteuid()}"  # noqa: S108 - made private


def check_directory(path: Path, *, make: bool) -> None:
    """Make sure that nobody else can put a socket of theirs at the path.

    Only a directory that is named after the user is made, and has to be theirs alone. Raises
    `SocketUnusable`.
    """
    directory = path.parent
    if directory.name != f"paastis-{os.geteuid()}":
        return
    try:
        if make:
            directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketUnusable(f"{directory} cannot be made: {error.strerror}.") from error
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if not private or found.st_uid != os.geteuid():
        raise SocketUnusable(
            f"{directory} is not a directory of this user alone; remove it, or set XDG_RUNTIME_DIR."
        )


def bind_socket(path: Path) -> socket.socket:
    """A bound socket at the path, not listening yet, mode 0600; a stale one is replaced.

    Raises `SocketUnusable`, also where another paastis answers at that path.
    """
    check_directory(path, make=True)
    if _answers(path):
        raise SocketUnusable(f"Another paastis answers at {path}.")
    # Under another name first: it gets its mode before anybody can find it, and then takes the
    # place of a stale one in one step.
    made = path.with_name(f"{path.name}.new")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.unlink(missing_ok=True)
        bound.bind(os.fspath(made))
        made.chmod(0o600)
        made.rename(path)
    except OSError as error:
        bound.close()
        raise SocketUnusable(f"No socket can be made at {path}: {error.strerror}.") from error
    bound.setblocking(False)
    return bound


def _answers(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SocketUnusable(f"{path} cannot be looked at: {error.strerror}.") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketUnusable(f"{path} exists and is no socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            raise SocketUnusable(f"{path} cannot be tried: {error.strerror}.") from error
    return True
