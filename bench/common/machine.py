"""The machine: CPU seconds and memory of processes as Linux reports them, and an equal start for every run."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
# More than one run takes.
_TOUCHED_BYTES: Final = 1 << 30


def peak_rss_mb(pid: int) -> float:
    """Return the largest resident size so far (VmHWM), in MB of 1,000,000 bytes. It never shrinks."""
    return _status_kib(pid, "VmHWM") * 1024 / 1e6


def private_mb(pid: int) -> float:
    """Return the resident memory without files and shared memory (RssAnon), in MB of 1,000,000 bytes."""
    return _status_kib(pid, "RssAnon") * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return user plus system time of all threads so far."""
    user, system, _, _ = _times(pid)
    return user + system


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its children, ended children included if they were waited for."""
    return sum(_times(pid)) + sum(cpu_seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """Return the process ids of the children that still run."""
    text = _read(_PROC / str(pid) / "task" / str(pid) / "children")
    return [int(child) for child in text.split()]


def core_count() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def describe_machine() -> dict[str, object]:
    """Return the number of CPUs, their model and the Python version, for the provenance of a result."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        model = next(names, model)
    return {"cpus": os.cpu_count(), "model": model, "python": platform.python_version()}


def settle() -> None:
    """Give every run the same start: flush the disks and touch memory. Blocks for about a second.

    Unwritten data of earlier runs would slow the commits of the next one. And a virtual machine gets its memory
    from the host page by page, and returns what is free: the first run to touch memory pays for it, a run after a
    larger one does not.
    """
    os.sync()
    bytearray(b"1") * _TOUCHED_BYTES


def create_directory(directory: Path) -> None:
    """Create a directory that must not exist, and its parents."""
    directory.mkdir(parents=True)


def remove_files(directory: Path) -> None:
    """Delete the files of a run, and with them the page cache that holds them."""
    shutil.rmtree(directory, ignore_errors=True)


def _times(pid: int) -> tuple[float, float, float, float]:
    """Return utime, stime, cutime and cstime in seconds; zeros for a process that has just ended."""
    text = _read(_PROC / str(pid) / "stat")
    # The process name in parentheses may hold any character.
    fields = text.rpartition(")")[2].split()
    user, system, child_user, child_system = (
        int(field) / _TICKS_PER_SECOND for field in fields[11:15] or ["0"] * 4
    )
    return user, system, child_user, child_system


def _status_kib(pid: int, name: str) -> int:
    for line in _read(_PROC / str(pid) / "status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
