from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.architecture.layers import (
    MAY_IMPORT,
    OURS,
    PLATFORM_NAMES,
    REQUIRED_LAYERS,
    SHARED_BY_PLATFORMS,
    WATCHED,
)
from tests.architecture.source_tree import Import, SourceTree

REPOSITORY = SourceTree(Path(__file__).parents[2])


def layer_of(module: str, rules: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the layer of a module, or None if no rule knows it."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in rules:
            return name
        if length > 1 and f"{'.'.join(parts[: length - 1])}.*" in rules:
            return name
    return None


def allowed(layer: str, rules: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return what the layer may import, itself included."""
    return (layer, *rules.get(layer, rules.get(f"{layer.rpartition('.')[0]}.*", ())))


def packages(tree: SourceTree) -> Iterator[Path]:
    """Yield our directories that hold Python files."""
    for name in OURS:
        yield from sorted({file.parent for file in tree.files(name)})


def is_bare(tree: SourceTree, file: Path) -> bool:
    """Return whether it is an `__init__` above the layers, which holds only a docstring."""
    return file.name == "__init__.py" and layer_of(tree.module_of(file), MAY_IMPORT) is None


def violations(tree: SourceTree) -> list[str]:
    """Return every import that its layer may not have, and every file that is in no layer."""
    found: list[str] = []
    for file in (file for name in OURS for file in tree.files(name)):
        layer = layer_of(tree.module_of(file), MAY_IMPORT)
        if layer is None and not is_bare(tree, file):
            found.append(f"{file.relative_to(tree.root)} is in no layer")
        may = allowed(layer, MAY_IMPORT) if layer else ()
        found += [text(tree, one) for one in tree.imports(file) if is_watched(one) and not is_allowed(one, may)]
    return found


def is_watched(one: Import) -> bool:
    return any(one.is_of(package) for package in WATCHED)


def is_allowed(one: Import, may: tuple[str, ...]) -> bool:
    return any(one.is_of(package) for package in may)


def text(tree: SourceTree, one: Import) -> str:
    return f"{one.file.relative_to(tree.root)}:{one.line} imports {one.module}"


def test_every_import_is_allowed_in_its_layer() -> None:
    assert violations(REPOSITORY) == []


@pytest.mark.parametrize("layer", REQUIRED_LAYERS)
def test_required_layers_exist(layer: str) -> None:
    files = REPOSITORY.files(layer)
    assert files
    assert any(True for file in files for _ in REPOSITORY.imports(file))


@pytest.mark.parametrize("layer", SHARED_BY_PLATFORMS)
def test_shared_code_names_no_platform(layer: str) -> None:
    """What is special to a platform is declared by its own package."""
    for file in REPOSITORY.files(layer):
        assert platform_names(file) == [], file


@pytest.mark.parametrize(
    "line",
    [
        'if shop.platform == "shopify": pass',
        "from connector_svc.platforms.shopify import SHOPIFY",
        "class ShopifyTokens: pass",
        "settings.shopify_strategy",
        'headers.get("X-BigCommerce")',
    ],
)
def test_a_platform_named_in_code_is_found(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.py"
    file.write_text(f'"""Such as Shopify."""\n# Such as WooCommerce.\n{line}\n')
    assert platform_names(file)
    file.write_text('"""Such as Shopify."""\n# Such as WooCommerce.\n')
    assert platform_names(file) == []


def platform_names(file: Path) -> list[str]:
    """Return the words of the code that hold the name of a platform."""
    return [word for word in words_of(file) for name in PLATFORM_NAMES if name in word.lower()]


def words_of(file: Path) -> Iterator[str]:
    """Yield the names and strings of the code, without docstrings and comments."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str()) as docstring):
                # `walk` visits the constant after its statement.
                docstring.value = ""
            case ast.Constant(value=str(text)) if text:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.arg(arg=name):
                yield name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name


def test_every_file_of_the_repository_is_in_a_watched_package() -> None:
    """A new top-level package needs a rule."""
    tops = {path.parent.name for path in REPOSITORY.root.glob("*/*.py")} - {"tests"}
    for name in REPOSITORY.distributions:
        tops |= {path.parent.name for path in REPOSITORY.root.glob(f"{name}/*/*.py")}
    assert tops <= set(OURS)


def test_every_package_has_a_docstring_of_one_sentence() -> None:
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
        ("connector_svc/new_layer/a.py", "import this"),
        ("cli/catalogsync_cli/a.py", "from catalog_svc.domain import sync"),
        ("bff/catalogsync_bff/a.py", "import connector_svc"),
        ("devstore/a.py", "import catalogsync_common"),
        ("common/catalogsync_common/a.py", "if TYPE_CHECKING:\n    from catalog_svc.domain.sync import Sync"),
        ("common/catalogsync_common/a.py", "from catalogsync.errors.v1 import error_reason_pb2"),
        ("common/catalogsync_common/a.py", "from tests.fakes import world"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert len(violations(SourceTree(tmp_path))) == 1


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
def test_an_allowed_import_is_accepted(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert violations(SourceTree(tmp_path)) == []
