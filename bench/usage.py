"""What a process uses, as the kernel counts it, and what it tells about itself."""

import os
from pathlib import Path


def memory(pid: int) -> float:
    """Resident memory, MB."""
    return _status(pid, "VmRSS")


def most_memory(pid: int) -> float:
    """The most that was ever resident, MB."""
    return _status(pid, "VmHWM")


def processor_time(pid: int) -> float:
    """Seconds that all its threads have computed so far."""
    # The program's name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def metric(text: str, name: str) -> float:
    """The sum over all labels of what a program's /metrics tell under that name."""
    lines = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _status(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"/proc/{pid}/status tells no {key}")
