"""One server for a whole test run, whatever number of workers it has.

The first worker that needs it starts this module as a program, which keeps the server until the
run's own process is gone, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.access import Cluster
from tests.cluster.server import Server


def join(directory: Path, programs: Path, run: int) -> Cluster:
    """The cluster of the run with this process id, which is started if it is the first time."""
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # by workers that come while the first waits
        if not _address(directory).exists():
            _start(directory, programs, run)
    found = json.loads(_address(directory).read_text())
    return Cluster(found["url"], found["token"], directory, programs)


def _address(directory: Path) -> Path:
    return directory / "address.json"


def _start(directory: Path, programs: Path, run: int) -> None:
    log = directory / "shared.log"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.shared", directory, programs, str(run)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the tests. They may still need the server while they clean up.
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
    deadline = time.monotonic() + 55
    while not _address(directory).exists():
        if keeper.poll() is not None:
            raise RuntimeError(f"The shared cluster did not start:\n{log.read_text()}")
        if time.monotonic() > deadline:
            keeper.kill()
            keeper.wait()
            raise TimeoutError(f"The shared cluster is not ready:\n{log.read_text()}")
        time.sleep(0.05)
    # It outlives this worker, which is not to be asked at its end whether it waited for it.
    keeper.returncode = 0


def keep(directory: Path, programs: Path, run: int) -> None:
    """Keeps a server until the process `run` ends."""
    watched = os.pidfd_open(run)
    with Server(directory, programs) as server:
        address = {"url": server.cluster.url, "token": server.cluster.token}
        being_written = directory / "address.json.new"
        being_written.write_text(json.dumps(address))
        being_written.replace(_address(directory))
        select.select([watched], [], [])


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
