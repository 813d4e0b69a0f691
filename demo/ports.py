"""Chooses ports: the usual ones where they are free, and the same ones again the next time."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

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
