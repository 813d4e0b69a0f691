"""The directory of a demo and its ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from demo.workspace import WorkspaceInUse, choose_ports, locked_workspace


def test_a_workspace_serves_one_demo_at_a_time_and_names_its_processes(tmp_path: Path) -> None:
    with locked_workspace(tmp_path) as workspace:
        workspace.record_processes({"catalog_svc": 4711})
        with pytest.raises(WorkspaceInUse, match=r"catalog_svc \(pid 4711\)"), locked_workspace(tmp_path):
            pass
    with locked_workspace(tmp_path):
        pass


def test_ports_stay_the_same_from_run_to_run(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json")
    assert choose_ports(tmp_path / "ports.json") == first
    assert len(set(first.values())) == 4


def test_a_port_in_use_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        file.write_text(f'{{"catalog": {port}}}')
        assert choose_ports(file)["catalog"] != port


@pytest.mark.parametrize("text", ["", "[]", "{broken", '{"catalog": "x"}'])
def test_an_unreadable_ports_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    assert set(choose_ports(tmp_path / "ports.json")) == {"bff", "catalog", "connector", "devstore"}
