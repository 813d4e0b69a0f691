from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.architecture.imports import Import, SourceTree
from tests.architecture.rooms import BUILT, MAY_IMPORT, OURS, WATCHED

REPOSITORY = SourceTree(Path(__file__).parents[2])


def room_of(module: str, rules: Mapping[str, tuple[str, ...]]) -> str | None:
    """The room that a module is in; None when no rule knows it."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in rules:
            return name
        if length > 1 and f"{'.'.join(parts[: length - 1])}.*" in rules:
            return name
    return None


def allowed(room: str, rules: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What the room may import, itself included."""
    return (room, *rules.get(room, rules.get(f"{room.rpartition('.')[0]}.*", ())))


def packages(tree: SourceTree) -> Iterator[Path]:
    """Directories of ours that hold Python files."""
    for name in OURS:
        yield from sorted({file.parent for file in tree.files(name)})


def is_bare(tree: SourceTree, file: Path) -> bool:
    """Whether it is the `__init__` above the rooms, which holds a sentence and nothing else."""
    return file.name == "__init__.py" and room_of(tree.module_of(file), MAY_IMPORT) is None


def faults(tree: SourceTree) -> list[str]:
    """Every import that is not allowed where it is, and every file that is in no room."""
    found: list[str] = []
    for file in (file for name in OURS for file in tree.files(name)):
        room = room_of(tree.module_of(file), MAY_IMPORT)
        if room is None and not is_bare(tree, file):
            found.append(f"{file.relative_to(tree.root)} is in no room")
        may = allowed(room, MAY_IMPORT) if room else ()
        found += [text(tree, one) for one in tree.imports(file) if is_watched(one) and not is_allowed(one, may)]
    return found


def is_watched(one: Import) -> bool:
    return any(one.is_of(package) for package in WATCHED)


def is_allowed(one: Import, may: tuple[str, ...]) -> bool:
    return any(one.is_of(package) for package in may)


def text(tree: SourceTree, one: Import) -> str:
    return f"{one.file.relative_to(tree.root)}:{one.line} imports {one.module}"


def test_every_import_keeps_to_the_arrows() -> None:
    assert faults(REPOSITORY) == []


@pytest.mark.parametrize("room", BUILT)
def test_the_rooms_that_the_rules_are_about_are_there(room: str) -> None:
    files = REPOSITORY.files(room)
    assert files
    assert any(True for file in files for _ in REPOSITORY.imports(file))


def test_no_file_of_the_repository_is_outside_the_watched_packages() -> None:
    """A new top-level package needs its rule."""
    tops = {path.parent.name for path in REPOSITORY.root.glob("*/*.py")} - {"tests"}
    for name in REPOSITORY.distributions:
        tops |= {path.parent.name for path in REPOSITORY.root.glob(f"{name}/*/*.py")}
    assert tops <= set(OURS)


def test_every_package_says_in_one_sentence_what_belongs_there() -> None:
    for package in packages(REPOSITORY):
        if package.name == "versions":
            continue  # Alembic's scripts; not a package
        init = package / "__init__.py"
        assert init.is_file(), package
        sentence = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        assert sentence.endswith("."), init
        assert not re.search(r"[.!?]\s+[A-Z]|\n\n", sentence), f"{init}: more than one sentence"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("catalog_svc/domain/a.py", "import grpc"),
        ("catalog_svc/domain/a.py", "from sqlalchemy.ext import asyncio"),
        ("catalog_svc/domain/a.py", "def f() -> None:\n    import aiohttp"),
        ("catalog_svc/domain/a.py", "from catalog_svc.usecases import ports"),
        ("catalog_svc/domain/a.py", "from ..usecases import ports"),
        ("catalog_svc/domain/a.py", "from catalogsync_common import server"),
        ("catalog_svc/usecases/a.py", "from catalog_svc.storage.tables import sync"),
        ("catalog_svc/usecases/a.py", "from catalogsync.catalog.v1 import catalog_service_pb2"),
        ("catalog_svc/rpc/a.py", "from catalog_svc import storage"),
        ("catalog_svc/rpc/a.py", "import sqlalchemy as sa"),
        ("catalog_svc/storage/a.py", "from catalog_svc.usecases.worker import SyncSupervisor"),
        ("catalog_svc/storage/a.py", "import catalog_svc.rpc"),
        ("catalog_svc/source/a.py", "import connector_svc.domain"),
        ("catalog_svc/bootstrap.py", "from connector_svc.domain import shop"),
        ("connector_svc/bootstrap.py", "from catalog_svc.domain import sync"),
        ("connector_svc/domain/a.py", "from catalogsync.connector.v1 import connector_service_pb2"),
        ("connector_svc/http/a.py", "from connector_svc.platforms.shopify import ShopifyPlatform"),
        ("connector_svc/platforms/shopify/a.py", "from connector_svc.platforms.woocommerce import wire"),
        ("connector_svc/platforms/shopify/a.py", "from connector_svc.http.client import open_http"),
        ("connector_svc/platforms/magento/a.py", "import aiohttp"),
        ("connector_svc/rpc/a.py", "from connector_svc.platforms.registry import PLATFORMS"),
        ("connector_svc/rpc/a.py", "import aiohttp"),
        ("connector_svc/new_room/a.py", "import this"),
        ("cli/catalogsync_cli/a.py", "from catalog_svc.domain import sync"),
        ("bff/a.py", "import connector_svc"),
        ("devstore/a.py", "import catalogsync_common"),
        ("common/catalogsync_common/a.py", "if TYPE_CHECKING:\n    from catalog_svc.domain.sync import Sync"),
        ("common/catalogsync_common/a.py", "from catalogsync.errors.v1 import error_reason_pb2"),
        ("common/catalogsync_common/a.py", "from tests.fakes import world"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert len(faults(SourceTree(tmp_path))) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("catalog_svc/domain/a.py", "from .sync import Sync"),
        ("catalog_svc/domain/a.py", "from catalogsync_common.failure import Failure"),
        ("catalog_svc/storage/a.py", "from catalog_svc.usecases.ports import Syncs"),
        ("catalog_svc/bootstrap.py", "import catalog_svc.storage.engine"),
        ("connector_svc/platforms/magento/a.py", "from connector_svc.platforms.base import Platform"),
        ("connector_svc/platforms/magento/a.py", "from connector_svc.platforms.magento import b"),
        ("connector_svc/platforms/registry.py", "from connector_svc.platforms.magento import MagentoPlatform"),
        ("connector_svc/platforms/__init__.py", ""),
        ("cli/catalogsync_cli/commands/a.py", "import grpcio_tools, json"),
    ],
)
def test_a_right_import_is_let_through(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert faults(SourceTree(tmp_path)) == []
