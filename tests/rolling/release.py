"""Releases side by side: this checkout, one with a further migration, and an older commit."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog_svc.storage.embedded import SERVICE_ROLE
from demo.processes import process_environment
from tests.chaos.instance import ROOT, code_path
from tests.chaos.postgres import Postgres
from tests.compatibility import EXPANDED_TABLES

_VERSIONS: Final = "catalog_svc/storage/migrations/versions"
_MIGRATION: Final = '''"""Additions as a newer release may make them."""

from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade() -> None:
'''
_COLUMNS: Final = "".join(
    f"""    op.execute("ALTER TABLE {table} ADD COLUMN of_newer_release text DEFAULT '-' NOT NULL")\n"""
    for table in EXPANDED_TABLES
)
_TABLE_AND_CHECK: Final = """
    op.execute("CREATE TABLE of_newer_release (shop_id uuid PRIMARY KEY)")
    op.execute("ALTER TABLE item ADD CONSTRAINT of_newer_release CHECK (of_newer_release <> '') NOT VALID")
"""
_INDEX: Final = """
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS item_of_newer_release")
        op.execute("CREATE INDEX CONCURRENTLY item_of_newer_release ON item (shop_id, of_newer_release)")
"""
_VALIDATION: Final = '    op.execute("ALTER TABLE item VALIDATE CONSTRAINT of_newer_release")\n'
UNLIMITED_WAIT: Final = """
    op.execute(
        "DO $$ BEGIN SET LOCAL lock_timeout = 0; ALTER TABLE item ADD COLUMN waits_without_limit text; END $$"
    )
"""
"""A forbidden migration: all later users of the table wait behind it until it has its lock."""
REWRITE: Final = """
    op.execute("ALTER TABLE item ADD COLUMN rewritten text DEFAULT CAST(pg_sleep(0.02) AS text)")
"""
"""Another one: it rewrites the table under an exclusive lock. The sleep simulates a large table."""
EXPANSION: Final = (_COLUMNS, _TABLE_AND_CHECK, _INDEX, _VALIDATION)
"""The bodies of the migrations, each of which needs locks of another kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The code of both services."""

    name: str
    directory: Path

    @property
    def head(self) -> str:
        """The schema that it needs."""
        return max(file.name[:4] for file in (self.directory / _VERSIONS).glob("[0-9]*.py"))


PRESENT: Final = Release(name="this checkout", directory=ROOT)


def newer_release(directory: Path, migrations: Sequence[str] = EXPANSION) -> Release:
    """Return this checkout's catalog_svc with further migrations, in a directory of its own.

    Args:
        directory: Where the code is written.
        migrations: The bodies of their functions `upgrade`.
    """
    shutil.copytree(ROOT / "catalog_svc", directory / "catalog_svc", ignore=shutil.ignore_patterns("__pycache__"))
    last = PRESENT.head
    for body in migrations:
        revision = f"{int(last) + 1:04d}"
        file = directory / _VERSIONS / f"{revision}_of_newer_release.py"
        file.write_text(_MIGRATION.format(revision=revision, down_revision=last) + body)
        last = revision
    return Release(name="a newer release", directory=directory)


def older_release(directory: Path, commit: str) -> Release:
    """Return the code of a commit, in a directory of its own; it runs with the libraries of this checkout."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    directory.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    return Release(name=commit, directory=directory)


def last_commit_with_older_schema() -> str | None:
    """Return the newest commit that lacks migrations of HEAD and has the others as they are; None: there is none.

    Migrations may be edited as long as they are in no release: a database of such a commit cannot be migrated.
    """
    present = _migrations("HEAD")
    for commit in _git("rev-list", "HEAD", "--", _VERSIONS).split():
        for parent in _git("log", "-1", "--format=%P", commit).split():
            if _migrations(parent) < present:
                return parent
    return None


def _migrations(commit: str) -> set[str]:
    """Return name and hash of each migration of a commit."""
    return set(_git("ls-tree", "-r", commit, "--", _VERSIONS).splitlines())


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


class MigrateProcess:
    """`python -m catalog_svc migrate` of a release, while it runs."""

    def __init__(self, release: Release, postgres: Postgres, log: Path) -> None:
        self.log = log
        self._release = release
        self._postgres = postgres
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return at once."""
        settings = {"CATALOG_DATABASE_URL": self._postgres.url, "CATALOG_SERVICE_ROLE": SERVICE_ROLE}
        directory = self._release.directory
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "catalog_svc", "migrate"),
                cwd=directory,
                env=process_environment(os.environ, {**settings, **code_path(directory)}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def retries(self) -> int:
        """How often it gave a lock up and tried again."""
        return self.log.read_text().count("migrating again")

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process is not None and self._process.returncode is not None

    async def wait(self) -> None:
        """Wait for its end. Raises RuntimeError if it failed."""
        assert self._process is not None
        if await self._process.wait() != 0:
            raise RuntimeError(f"the migration to {self._release.name} failed:\n{self.log.read_text()}")

    async def kill(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
