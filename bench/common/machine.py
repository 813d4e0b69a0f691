"""What Linux tells about a process: CPU seconds and memory.

A machine that starts each run alike."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

_TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def peak_rss_mb(pid: int) -> float:
    """The largest resident size so far (VmHWM), in MB of 1,000,000 bytes. It never shrinks."""
    return _status_kib(pid, "VmHWM") * 1024 / 1e6


def private_mb(pid: int) -> float:
    """The resident memory that is the process's own, without files and shared memory (RssAnon)."""
    return _status_kib(pid, "RssAnon") * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    user, system, _, _ = _times(pid)
    return user + system


def family_cpu_seconds(pid: int) -> float:
    """The same with the children: those that live and those that ended and were waited for."""
    return sum(_times(pid)) + sum(cpu_seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """The processes that this one started and that still live."""
    text = _read(_PROC / str(pid) / "task" / str(pid) / "children")
    return [int(child) for child in text.split()]


def _times(pid: int) -> tuple[float, float, float, float]:
    """utime, stime, cutime, cstime; zeros for a process that has just ended."""
    text = _read(_PROC / str(pid) / "stat")
    # The name in parentheses may hold anything.
    fields = text.rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) / _TICK for field in fields[11:15] or ["0"] * 4)
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


_MEMORY: Final = 1 << 30
"""Bytes; more than one run takes."""


def settle() -> None:
    """Blocks for a second or so.

    What earlier runs have left to be written would slow this one's commits. And a virtual machine gets its memory
    from its host page by page, and gives back what is free: a run that is the first to touch some pays for it,
    which one after a larger one does not.
    """
    os.sync()
    bytearray(b"1") * _MEMORY


def forget(place: Path) -> None:
    """Drops the files of a run, and so the memory that holds them."""
    shutil.rmtree(place, ignore_errors=True)
