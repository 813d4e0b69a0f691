"""The distributions work in new environments, installed from wheels and with pip from the checkout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SOURCES = {
    "catalogsync-protos": ROOT / "gen",
    "catalogsync-common": ROOT / "common",
    "catalogsync-client": ROOT / "clients" / "python",
    "catalogsync-bff": ROOT / "bff",
    "catalogsync-cli": ROOT / "cli",
    "catalogsync": ROOT,
}
"""The directory of each distribution."""

USE_STUBS = """
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

USE_SERVICES = """
import catalog_svc.bootstrap, connector_svc.bootstrap
import catalog_svc.__main__, connector_svc.__main__
"""

USE_CLIENT = """
from importlib.resources import files
from catalogsync_client import BlockingCatalogClient, CatalogSyncError
assert files("catalogsync_client").joinpath("py.typed").is_file()
with BlockingCatalogClient("127.0.0.1:1", timeout_seconds=1) as catalog:
    try:
        catalog.sync_and_wait("shopify:demo.myshopify.com")
    except CatalogSyncError as error:
        print(type(error).__name__)
"""

USE_BFF = """
import catalogsync_bff.__main__
from catalogsync_bff.routes.pages import read_page
assert "index.html" in read_page()
"""

FIND = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"

INSTALLED_MODULES = """
import importlib.metadata
ours = [dist for dist in importlib.metadata.distributions() if dist.name.startswith("catalogsync")]
print(sorted({file.parts[0] for dist in ours for file in dist.files if file.suffix == ".py"}))
"""

SERVER_LIBRARIES = ("sqlalchemy", "asyncpg", "aiohttp", "pydantic", "prometheus_client", "grpc_health")
CLIENT_MODULES = ["catalogsync", "catalogsync_client", "catalogsync_common"]
BFF_MODULES = ["catalogsync", "catalogsync_bff", "catalogsync_client", "catalogsync_common"]
CLI_MODULES = ["catalogsync", "catalogsync_cli", "catalogsync_client", "catalogsync_common"]
SERVER_MODULES = ["catalog_svc", "catalogsync", "catalogsync_common", "connector_svc"]
REPOSITORY_ONLY = ("bff", "cli", "clients", "common", "demo", "devstore", "servicekit", "bench", "tests", "gen")
"""Present and former directories of the repository that an installation must not make importable."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each distribution, built from the checkout."""
    built = {}
    for name, source in SOURCES.items():
        out = tmp_path_factory.mktemp(name)
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", out, source)
        (built[name],) = out.glob(f"{name.replace('-', '_')}-*.whl")
    return built


class Environment:
    """A virtual environment without any package, except pip on request."""

    def __init__(self, path: Path, *, with_pip: bool = False) -> None:
        self.bin = path / "bin"
        if with_pip:
            _run(sys.executable, "-m", "venv", path)
        else:
            _run(UV, "venv", "--quiet", "--python", sys.executable, path)

    def install(self, *packages: object) -> None:
        """Install with uv."""
        _run(UV, "pip", "install", "--quiet", "--python", self.bin / "python", *packages)

    def pip_install(self, *sources: str) -> None:
        """Run `pip install` in the checkout."""
        _run(self.bin / "pip", "install", "--quiet", "--no-compile", *sources, cwd=ROOT)

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code, with warnings as errors, outside of the checkout; return its output."""
        return _run(self.bin / "python", "-W", "error", "-c", code, *arguments, cwd=self.bin)

    def importable(self, names: Iterable[str]) -> str:
        """Return the names that are importable, as a list in Python's notation."""
        return self.python(FIND, *names).strip()


@pytest.mark.parametrize(("protobuf", "grpcio"), [("6.33.5", "1.81.1"), ("7.36.2", "1.85.1")])
def test_the_protos_wheel_loads_without_warnings(
    wheels: dict[str, Path], tmp_path: Path, protobuf: str, grpcio: str
) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(wheels["catalogsync-protos"], f"protobuf=={protobuf}", f"grpcio=={grpcio}")
    assert environment.python(USE_STUBS).strip() == protobuf


@pytest.mark.parametrize("protobuf", ["6.33.5", "7.36.2"])
def test_the_cli_wheel_works_without_the_libraries_of_the_services(
    wheels: dict[str, Path], tmp_path: Path, protobuf: str
) -> None:
    environment = Environment(tmp_path / "venv")
    local = [
        wheels[name]
        for name in ("catalogsync-protos", "catalogsync-common", "catalogsync-client", "catalogsync-cli")
    ]
    environment.install(*local, f"protobuf=={protobuf}")
    _check_cli(environment)


@pytest.mark.parametrize("protobuf", ["6.33.5", "7.36.2"])
def test_the_client_wheel_works_without_the_libraries_of_the_services(
    wheels: dict[str, Path], tmp_path: Path, protobuf: str
) -> None:
    environment = Environment(tmp_path / "venv")
    local = [wheels[name] for name in ("catalogsync-protos", "catalogsync-common", "catalogsync-client")]
    environment.install(*local, f"protobuf=={protobuf}")
    assert environment.python(USE_CLIENT).strip() == "ServiceUnavailable"
    assert environment.importable(SERVER_LIBRARIES) == "[]"
    assert environment.python(INSTALLED_MODULES).strip() == repr(CLIENT_MODULES)


def test_the_server_wheel_contains_the_services_and_nothing_else(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in ("catalogsync-protos", "catalogsync-common", "catalogsync")))
    _check_server(environment)


def test_the_bff_wheel_works_without_the_libraries_of_the_services(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    """It has the page in it."""
    environment = Environment(tmp_path / "venv")
    names = ("catalogsync-protos", "catalogsync-common", "catalogsync-client", "catalogsync-bff")
    environment.install(*(wheels[name] for name in names))
    environment.python(USE_BFF)
    assert environment.importable(("sqlalchemy", "asyncpg", "alembic")) == "[]"
    assert environment.python(INSTALLED_MODULES).strip() == repr(BFF_MODULES)


@pytest.mark.release
def test_pip_installs_the_protos_from_the_checkout(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", with_pip=True)
    environment.pip_install("./gen")
    environment.python(USE_STUBS)


@pytest.mark.release
@pytest.mark.timeout(600)
def test_pip_installs_the_cli_from_the_checkout(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", with_pip=True)
    environment.pip_install("./gen", "./common", "./clients/python", "./cli")
    _check_cli(environment)


@pytest.mark.release
@pytest.mark.timeout(600)
def test_pip_installs_the_services_from_the_checkout(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", with_pip=True)
    environment.pip_install("./gen", "./common", ".")
    _check_server(environment)


def _check_cli(environment: Environment) -> None:
    catalogsync = environment.bin / "catalogsync"
    assert "Commands:" in _run(catalogsync, "--help")
    assert _run(catalogsync, "--version").startswith("catalogsync, version ")
    # A call to an unused port shows that the gRPC client, its service config and the error texts are installed.
    unreachable = ("--catalog", "127.0.0.1:1", "--timeout", "1")
    assert "does not answer" in _run(catalogsync, *unreachable, "sync", "list", exit_code=4)
    assert environment.importable(SERVER_LIBRARIES) == "[]"
    assert environment.python(INSTALLED_MODULES).strip() == repr(CLI_MODULES)


def _check_server(environment: Environment) -> None:
    environment.python(USE_SERVICES)
    assert environment.importable((*REPOSITORY_ONLY, "PIL")) == "[]"
    assert environment.python(INSTALLED_MODULES).strip() == repr(SERVER_MODULES)


def _run(*command: object, cwd: Path | None = None, exit_code: int = 0) -> str:
    """Return standard output, and standard error of a command that must fail."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=290, cwd=cwd)
    assert done.returncode == exit_code, done.stderr
    return done.stdout if exit_code == 0 else done.stdout + done.stderr
