"""Does the last release run on the present schema? `make test-compatibility`.

The newest release tag that this commit descends from is checked out and installed beside this checkout. Its smoke
tests (marker `smoke`) then run on copies of a database that this checkout has migrated, so that a migration that
takes away what the release reads or writes fails here and not in a rollout.

Before the first release there is nothing to check out: this checkout's own smoke tests run on its schema after a
synthetic migration that adds columns, an index and a table.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from catalog_svc.storage.embedded import embedded_postgres
from tests.conftest import (
    SERVER_URL,
    TEMPLATE,
    execute,
    make_template,
    make_unsafe_and_fast,
    open_directory,
    with_database,
)

ROOT: Final = Path(__file__).parents[1]

EXPANDED_TABLES: Final = (
    *("shop", "shop_state", "shop_schedule", "sync_queue", "idempotency_key", "product", "item"),
    *("sync", "sync_history", "sync_issue"),
)
"""Tables that syncs use."""
EXPANSION: Final = (
    *(f"ALTER TABLE {table} ADD COLUMN of_newer_release text" for table in EXPANDED_TABLES),
    "CREATE INDEX item_of_newer_release ON item (shop_id, of_newer_release)",
    "CREATE TABLE of_newer_release (shop_id uuid PRIMARY KEY)",
    "UPDATE alembic_version SET version_num = '9999'",
)
"""A migration as a newer release may have it: it only adds."""


def newest_release(repository: Path) -> str | None:
    """Return the highest version tag (v*) of an ancestor of HEAD; None if there is none."""
    options = ("--merged", "HEAD", "--no-contains", "HEAD", "--sort=-version:refname")
    # With the suffix a release candidate comes before its release.
    tags = _git(repository, "-c", "versionsort.suffix=-", "tag", "--list", "v*", *options).split()
    return tags[0] if tags else None


@contextmanager
def installed_release(repository: Path, tag: str) -> Iterator[Path]:
    """Check out and install a release, and remove it at the end; yield its directory."""
    with TemporaryDirectory(prefix="catalogsync-release-", ignore_cleanup_errors=True) as directory:
        checkout = Path(directory) / tag
        _git(repository, "worktree", "add", "--detach", str(checkout), tag)
        try:
            kept = {
                name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV"))
            }
            uv = str(Path(sys.executable).parent / "uv")
            subprocess.run([uv, "sync", "--quiet", "--frozen"], cwd=checkout, env=kept, check=True)
            yield checkout
        finally:
            _git(repository, "worktree", "remove", "--force", str(checkout))


def _install(checkout: Path) -> None:
    """Create the environment of a checkout from its lock file."""
    others = ("UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "sync", "--quiet", "--frozen", "--python", sys.executable]
    subprocess.run(command, cwd=checkout, env=environment, check=True)


@asynccontextmanager
async def migrated_server(changes: Sequence[str] = ()) -> AsyncIterator[str]:
    """Run a PostgreSQL with a template database of the present schema; yield its URL.

    Args:
        changes: Statements that change the schema of the template.
    """
    with open_directory("compatibility") as directory:
        async with embedded_postgres(directory / "data") as url:
            await make_unsafe_and_fast(url)
            await make_template(url)
            for statement in changes:
                await execute(with_database(url, TEMPLATE), statement)
            yield url


async def run_smoke_tests(checkout: Path, server_url: str, *arguments: str) -> int:
    """Run the smoke tests of a checkout on copies of the server's template database; return pytest's exit code."""
    process = await asyncio.create_subprocess_exec(
        str(checkout / ".venv" / "bin" / "python"),
        *("-m", "pytest", "-m", "smoke", "-q", "-p", "no:cacheprovider", *arguments),
        cwd=checkout,
        env={**os.environ, SERVER_URL: server_url},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _check_release(tag: str) -> int:
    print(f"smoke tests of {tag} on the schema of this checkout", flush=True)
    with installed_release(ROOT, tag) as checkout:
        async with migrated_server() as url:
            return await run_smoke_tests(checkout, url)


async def _check_without_release() -> int:
    if _git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true":
        print("This clone is shallow, which may hide release tags: git fetch --unshallow --tags")
    print("There is no release yet: own smoke tests on the own schema after a synthetic migration", flush=True)
    async with migrated_server(EXPANSION) as url:
        return await run_smoke_tests(ROOT, url)


def _git(repository: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=True)
    return result.stdout


def main() -> int:
    """Return pytest's exit code: 0 if all smoke tests have passed."""
    tag = newest_release(ROOT)
    return asyncio.run(_check_release(tag) if tag else _check_without_release())


if __name__ == "__main__":
    sys.exit(main())
