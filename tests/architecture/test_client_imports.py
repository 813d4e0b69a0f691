"""Clients need catalogsync-common without its extras: gRPC, protobuf, PyJWT, and OpenTelemetry's API."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.architecture.source_tree import Import, SourceTree

REPOSITORY = SourceTree(Path(__file__).parents[2])
COMMON = "catalogsync_common"
CLIENT_NAMES = (
    "call_context",
    "channel",
    "client_tls",
    "diagnosis",
    "duration",
    "endpoint_checks",
    "failure",
    "host_names",
    "loopback",
    "setting_names",
    "rpc_spans",
    "status",
    "token_claims",
    "token_minting",
    "tracing",
)
CLIENT_MODULES = {f"{COMMON}.{name}" for name in CLIENT_NAMES}
"""The modules of catalogsync_common that the Python client and the command line use, directly or not."""
INSTALLED = {"google", "grpc", "jwt", "opentelemetry", COMMON, *sys.stdlib_module_names}
"""Top-level modules that exist wherever catalogsync-common is installed without an extra."""


def module_in_common(tree: SourceTree, imported: Import) -> str | None:
    """Return the module of catalogsync_common that an import loads; None if it loads none."""
    if not imported.is_of(COMMON):
        return None
    # Of "from a.b import c" the import is "a.b.c", whether c is a module or a name in a.b.
    return imported.module if tree.files(imported.module) else imported.module.rpartition(".")[0]


def modules_of_client(tree: SourceTree) -> set[str]:
    """Return the modules of catalogsync_common that the clients import, transitively."""
    found: set[str] = set()
    files = [*tree.files("catalogsync_client"), *tree.files("catalogsync_cli")]
    while files:
        imports = [imported for file in files for imported in tree.imports(file)]
        modules = {module for imported in imports if (module := module_in_common(tree, imported))} - found
        found |= modules
        files = [file for module in sorted(modules) for file in tree.files(module)]
    return found


def imports_of_extras(tree: SourceTree) -> list[str]:
    """Return what the clients import, through catalogsync_common, from libraries of an extra."""
    files = [file for module in sorted(modules_of_client(tree)) for file in tree.files(module)]
    imports = [imported for file in files for imported in tree.imports(file)]
    return [f"{one.file.name}: {one.module}" for one in imports if one.module.partition(".")[0] not in INSTALLED]


def test_the_clients_use_these_modules_of_the_common_package() -> None:
    assert modules_of_client(REPOSITORY) == CLIENT_MODULES


def test_the_clients_need_no_library_of_an_extra() -> None:
    assert imports_of_extras(REPOSITORY) == []


def test_an_indirect_import_of_an_extra_is_found(tmp_path: Path) -> None:
    sources = {
        "cli/catalogsync_cli/main.py": "from catalogsync_common.channel import open_channel",
        "common/catalogsync_common/channel.py": "import grpc\nfrom catalogsync_common import settings",
        "common/catalogsync_common/settings.py": "def load():\n    import pydantic",
        "common/catalogsync_common/server.py": "import grpc_health",
    }
    for name, source in sources.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    assert imports_of_extras(SourceTree(tmp_path)) == ["settings.py: pydantic"]
