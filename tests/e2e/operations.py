"""An installation as docs/operations describes it, on a PostgreSQL of its own, by the commands of the pages."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from catalog_svc.storage.embedded import embedded_postgres
from demo.processes import process_environment
from tests.chaos.postgres import binaries
from tests.conftest import make_unsafe_and_fast, open_directory
from tests.doc_blocks import PAGES, blocks, run_script
from tests.e2e.conftest import clean_environment

OWNER: Final = "catalog_owner"
SERVICE: Final = "catalog"
DATABASE: Final = "catalog"
RESTORED: Final = "catalog_restored"


def role_url(admin_url: str, role: str, database: str) -> str:
    """Return the URL of a role for a database of the server."""
    url = make_url(admin_url).set(username=role, password=None, database=database)
    return url.render_as_string(hide_password=False)


def program_path() -> str:
    """Return a PATH with the programs of PostgreSQL and of this environment."""
    return os.pathsep.join((str(binaries()), str(Path(sys.executable).parent), os.environ["PATH"]))


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A server with the roles and the database of the pages, and a directory for their files."""

    admin_url: str
    directory: Path

    def url(self, role: str, database: str) -> str:
        """Return the URL of a role for a database."""
        return role_url(self.admin_url, role, database)

    async def run(self, script: str, **variables: str) -> str:
        """Run commands of a page in the directory; return what they print."""
        urls = {
            "ADMIN_URL": self.admin_url,
            "OWNER_URL": self.url(OWNER, DATABASE),
            "SERVICE_URL": self.url(SERVICE, DATABASE),
            "RESTORED_OWNER_URL": self.url(OWNER, RESTORED),
            "OWNER_PASSWORD": "of the owner",
            "SERVICE_PASSWORD": "it's of the service",
            "USER": "operator",
            "PATH": program_path(),
        }
        environment = process_environment(clean_environment(), {**urls, **variables})
        return await asyncio.to_thread(run_script, script, self.directory, environment)

    async def run_sql(self, script: str, role: str = "postgres", database: str = DATABASE) -> str:
        """Run statements of a page; return what psql prints."""
        (self.directory / "page.sql").write_text(script)
        url = self.url(role, database)
        return await self.run(f"psql --set=ON_ERROR_STOP=1 --file=page.sql {url!r}")

    def settings(self, file: str) -> dict[str, str]:
        """Return the settings that the page has written to a file."""
        lines = (self.directory / file).read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)


def page(name: str) -> list[str]:
    """Return the shell commands of a page, block by block."""
    return blocks(PAGES / name)


@asynccontextmanager
async def installed() -> AsyncIterator[Installation]:
    """Yield an installation after all blocks of install.md but the last, which needs the running services."""
    with open_directory("operations") as directory:
        async with embedded_postgres(directory / "data") as admin_url:
            await make_unsafe_and_fast(admin_url)
            files = directory / "files"
            files.mkdir()
            installation = Installation(admin_url=admin_url, directory=files)
            (files / "credentials.toml").write_text("")
            (files / "credentials.toml").chmod(0o600)
            for block in (*page("tls.md"), *page("install.md")[:-1]):
                await installation.run(block)
            yield installation
