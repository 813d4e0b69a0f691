"""The directory in which a demo lives, for one demo at a time."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


class PlaceTaken(Exception):
    """Another demo, or what one left behind, uses the directory."""

    def __init__(self, root: Path, users: str) -> None:
        super().__init__(f"Another demo uses {root}: {users or 'just starting'}. End it first.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Absolute paths."""

    root: Path
    lock: int
    """A descriptor that processes of the demo keep open: the place stays taken while any of them lives."""

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.toml"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def devstore_answer(self) -> Path:
        return self.root / "devstore.json"

    def note_users(self, pids: Mapping[str, int]) -> None:
        """Writes down who uses the place, for whoever finds it taken."""
        users = ", ".join(f"{name} (pid {pid})" for name, pid in {"demo": os.getpid(), **pids}.items())
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, users.encode(), 0)


@contextmanager
def taken_place(root: Path) -> Iterator[Place]:
    """The directory, made when absent. PlaceTaken: somebody has it."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlaceTaken(root, os.pread(lock, 4096, 0).decode("utf-8", "replace")) from None
        place = Place(root=root, lock=lock)
        place.logs.mkdir(exist_ok=True)
        place.note_users({})
        yield place
    finally:
        os.close(lock)


def stop_leftover_postgres(data_dir: Path, *, patience: float = 10.0) -> None:
    """Stops the PostgreSQL that catalog_svc has left. Only for a directory whose users have just ended.

    A catalog_svc that was killed leaves it, and so do all later ones: the wheel keeps the dead one on its list.
    """
    try:
        pid = int((data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)  # its "fast" way down
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGQUIT)
