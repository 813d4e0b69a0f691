"""The stubs are a wheel of their own that a client installs, whatever protobuf it lives on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

USE = """
import json, importlib.metadata, importlib.resources
import google.protobuf, grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync.errors.v1 import error_reason_pb2
config = json.loads(importlib.resources.files("catalogsync").joinpath("service_config.json").read_text())
assert config["methodConfig"]
assert importlib.resources.files("catalogsync").joinpath("py.typed").is_file()
sync = pb.Sync.FromString(pb.Sync(sync_id="s", state=pb.Sync.STATE_FAILED).SerializeToString())
assert sync.sync_id == "s"
print(google.protobuf.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    _run(UV, "build", "--quiet", "--wheel", "--out-dir", out, ROOT / "gen")
    (built,) = out.glob("catalogsync_protos-*.whl")
    return built


@pytest.mark.parametrize(("protobuf", "grpcio"), [("6.33.5", "1.81.1"), ("7.36.2", "1.85.1")])
def test_it_loads_without_a_warning(wheel: Path, tmp_path: Path, protobuf: str, grpcio: str) -> None:
    venv = tmp_path / "venv"
    _run(UV, "venv", "--quiet", "--python", sys.executable, venv)
    packages = (wheel, f"protobuf=={protobuf}", f"grpcio=={grpcio}")
    _run(UV, "pip", "install", "--quiet", "--python", venv / "bin/python", *packages)
    shown = _run(venv / "bin/python", "-W", "error", "-c", USE)
    assert shown.strip() == protobuf


def _run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout
