"""What a program asks of its operating system, tried in one that does nothing else."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
from pathlib import Path
from paastis.cli.process import give_large_blocks_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

give_large_blocks_back()
before = resident()
for size in (9, 8, 7):
    block = b"x" * (size << 20)
    above = bytes(1000)
    del block
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps them otherwise")
def test_what_was_taken_for_large_blocks_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30
    )
    assert int(done.stdout) < 2
