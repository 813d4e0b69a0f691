"""The directory of a demo: locked while a demo runs, with the ports that it remembers for the next run."""

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

HOST = "127.0.0.1"
DEFAULT_PORTS = {"catalog": 50051, "connector": 50052, "devstore": 8443, "bff": 8080}


class WorkspaceInUse(Exception):
    """Another demo, or a process left by one, uses the directory."""

    def __init__(self, root: Path, processes: str) -> None:
        super().__init__(f"Another demo uses {root}: {processes or 'just starting'}. Stop it first.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """Absolute paths of the files of a demo."""

    root: Path
    lock: int
    """File descriptor that the demo's processes inherit: the workspace stays locked while any of them lives."""

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
    def keys(self) -> Path:
        return self.root / "keys.json"

    @property
    def token(self) -> Path:
        """The operator token, for commands in other terminals."""
        return self.root / "operator.token"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def devstore_stdout(self) -> Path:
        return self.root / "devstore.json"

    def record_processes(self, pids: Mapping[str, int]) -> None:
        """Write names and pids of the demo's processes into the lock file, for the message of WorkspaceInUse."""
        processes = ", ".join(f"{name} (pid {pid})" for name, pid in {"demo": os.getpid(), **pids}.items())
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, processes.encode(), 0)


@contextmanager
def locked_workspace(root: Path) -> Iterator[Workspace]:
    """Create the directory if absent and hold its lock. Raise WorkspaceInUse if it is locked."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceInUse(root, os.pread(lock, 4096, 0).decode("utf-8", "replace")) from None
        workspace = Workspace(root=root, lock=lock)
        workspace.logs.mkdir(exist_ok=True)
        workspace.record_processes({})
        yield workspace
    finally:
        os.close(lock)


def stop_leftover_postgres(data_dir: Path, *, timeout_seconds: float = 10.0) -> None:
    """Stop the PostgreSQL that catalog_svc left running in a directory whose processes have just ended.

    A catalog_svc that was killed leaves it running, and so do all later ones: the PostgreSQL wheel keeps the
    killed process on its list of users.
    """
    try:
        pid = int((data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGQUIT)


def choose_ports(file: Path) -> dict[str, int]:
    """Return a free port for each process, and save the ports in `file` for the next run.

    The saved port is preferred, then the default, then any free one. The devstore's port is part of its image
    addresses: with another port, every product would count as changed.
    """
    saved = _read_ports(file)
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        chosen[name] = _first_free(saved.get(name), default, taken=set(chosen.values()))
    file.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


def _read_ports(file: Path) -> Mapping[str, int]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in read.items() if isinstance(port, int)} if isinstance(read, dict) else {}


def _first_free(*preferred: int | None, taken: set[int]) -> int:
    for port in preferred:
        if port is not None and port not in taken and _try_bind(port) is not None:
            return port
    free = _try_bind(0)
    assert free is not None
    return free


def _try_bind(port: int) -> int | None:
    with socket.socket() as probe:
        # As servers do, or a port that was in use a minute ago would not count as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        number: int = probe.getsockname()[1]
        return number
