"""An installation for an operator: commands, PostgreSQL with two roles, a shop, replicas of both services."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalogsync_client import CatalogClient

from catalog_svc.storage.embedded import embedded_postgres
from demo.processes import process_environment
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE
from devstore import server as devstore
from devstore.catalog.model import Platform
from devstore.server import RunningStore
from devstore.spec import ShopSpec
from tests.chaos.instance import ROOT, Instance, code_path
from tests.e2e.conftest import clean_environment, free_port
from tests.e2e.operations import SERVICE, program_path, role_url
from tests.e2e.small_system import DOMAIN

_REPLICAS: Final = 2
_LATENCY_SECONDS: Final = 0.2


class CommandFailed(Exception):
    """A command ended with an unexpected exit code; the message contains what it printed."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A PostgreSQL without a catalog, a shop, and the files of the services, none of which is started."""

    admin_url: str
    store: RunningStore
    directory: Path
    catalogs: list[Instance]
    connector: Instance
    _stack: AsyncExitStack

    def url(self, role: str, database: str) -> str:
        """Return the URL of a database for a role."""
        return role_url(self.admin_url, role, database)

    @property
    def target(self) -> str:
        """The gRPC target of all replicas of catalog_svc."""
        return "ipv4:" + ",".join(instance.address for instance in self.catalogs)

    async def run(
        self,
        command: str,
        *,
        code: int = 0,
        answer: str = "",
        directory: Path = ROOT,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command with bash and return what it prints.

        Args:
            command: As in the documentation.
            code: The expected exit code.
            answer: What is typed.
            directory: Of the release.
            settings: More of its environment.

        Raises:
            CommandFailed: It ended with another exit code.
        """
        addresses = {"CATALOGSYNC_CATALOG": self.target, "CATALOGSYNC_CONNECTOR": self.connector.address}
        config = {"CATALOGSYNC_CONFIG": str(self.directory / "cli.toml"), "PATH": program_path()}
        environment = process_environment(clean_environment(), {**addresses, **config, **(settings or {})})
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", command),
            cwd=directory,
            env={**environment, **code_path(directory)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(240):
                printed, _ = await process.communicate(answer.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        output = printed.decode()
        if process.returncode != code:
            raise CommandFailed(f"{command}\nexit code {process.returncode}, expected {code}:\n{output}")
        return output

    async def start(self, instance: Instance, directory: Path = ROOT) -> None:
        """Start a service with the code of a directory, and wait until it serves."""
        instance.code = directory
        await instance.start()
        await instance.wait_until_ready()
        assert instance.up, instance.log.read_text()[-2000:]

    def write_credentials(self, **credentials: str) -> None:
        """Write the credentials file of connector_svc, which reads it again when it changes."""
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in credentials.items())
        file = self.directory / "credentials.toml"
        new = self.directory / "credentials.new"
        new.write_text(f"[shopify.{json.dumps(DOMAIN)}]\n" + "".join(lines))
        new.chmod(0o600)
        new.replace(file)

    def use_database(self, database: str) -> None:
        """Configure replicas of catalog_svc, which are not started, for a database."""
        self.catalogs[:] = [self._catalog(number, database) for number in range(_REPLICAS)]
        for instance in self.catalogs:
            self._stack.push_async_callback(instance.stop)

    def client(self) -> CatalogClient:
        """Return a client of all replicas."""
        return CatalogClient(self.target)

    def _catalog(self, number: int, database: str) -> Instance:
        port = free_port()
        name = f"{database}-{number}"
        settings = {
            "CATALOG_LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "CATALOG_DATABASE_URL": self.url(SERVICE, database),
            "CATALOG_CONNECTOR_ADDRESS": self.connector.address,
            "CATALOG_START_SYNC_INTERVAL": "0",
        }
        log = self.directory / f"{name}.log"
        return Instance(name, CATALOG_SERVICE, port, ("-m", "catalog_svc"), settings, log)


@asynccontextmanager
async def installation(directory: Path, *, products: int) -> AsyncIterator[Installation]:
    """Yield an installation whose PostgreSQL and shop run."""
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=False)
    async with AsyncExitStack() as stack:
        admin_url = await stack.enter_async_context(embedded_postgres(directory / "data"))
        store = await stack.enter_async_context(
            devstore.serving([spec], tls_dir=directory / "tls", throttle=False, latency=_LATENCY_SECONDS)
        )
        port = free_port()
        settings = {
            "CONNECTOR_LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "CONNECTOR_CREDENTIALS_FILE": str(directory / "credentials.toml"),
            "CONNECTOR_CA_FILE": str(store.ca_file),
            "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({DOMAIN: store.base_url(DOMAIN)}),
            "CONNECTOR_HTTP_ATTEMPTS": "2",
        }
        log = directory / "connector.log"
        connector = Instance("connector", CONNECTOR_SERVICE, port, ("-m", "connector_svc"), settings, log)
        stack.push_async_callback(connector.stop)
        catalogs: list[Instance] = []
        yield Installation(
            admin_url=admin_url,
            store=store,
            directory=directory,
            catalogs=catalogs,
            connector=connector,
            _stack=stack,
        )


def documentation() -> Sequence[str]:
    """Return the lines of the documentation, with the shops of examples replaced by SHOP."""
    files = (ROOT / "README.md", ROOT / "cli/catalogsync_cli/README.md", *(ROOT / "docs").rglob("*.md"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    text = re.sub(r"\b(shopify|woocommerce):[\w.-]+", "SHOP", text)
    return text.replace("`", " ").replace(".venv/bin/", "").splitlines()
