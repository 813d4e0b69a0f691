"""The directory in which a demo lives, for one demo at a time.

Chooses ports: the usual ones where they are free, and the same ones again the next time."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
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


HOST = "127.0.0.1"
USUAL = {"catalog": 50051, "connector": 50052, "devstore": 8443}


def choose_ports(memory: Path) -> dict[str, int]:
    """A free port for each process, remembered in the file `memory`.

    The devstore's port is part of its image addresses: with another one, every product would count as changed.
    """
    remembered = _read(memory)
    chosen: dict[str, int] = {}
    for name, usual in USUAL.items():
        chosen[name] = _first_free(remembered.get(name), usual, taken=set(chosen.values()))
    memory.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


def _read(memory: Path) -> Mapping[str, int]:
    try:
        read = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in read.items() if isinstance(port, int)} if isinstance(read, dict) else {}


def _first_free(*wanted: int | None, taken: set[int]) -> int:
    for port in wanted:
        if port is not None and port not in taken and _bound(port) is not None:
            return port
    free = _bound(0)
    assert free is not None
    return free


def _bound(port: int) -> int | None:
    with socket.socket() as probe:
        # As servers do, or a port that was in use a minute ago would not count as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        number: int = probe.getsockname()[1]
        return number
