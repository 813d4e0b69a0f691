"""A healthy installation, of which a test breaks one thing: both services with TLS and authentication, a shop."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from catalogsync_common.diagnosis import Finding, Outcome
from catalogsync_common.settings import ListenAddress
from catalogsync_common.token_minting import SigningKey, mint_operator_token
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from connector_svc.bootstrap import running as running_connector
from connector_svc.settings import ConnectorSettings
from devstore.catalog.model import Platform
from devstore.server import serving
from devstore.spec import ShopSpec
from tests.tls import Authority, IssuedFiles
from tests.waiting import TIMEOUT_SECONDS

DOMAIN: Final = "demo.myshopify.com"
SHOP: Final = f"shopify:{DOMAIN}"
OPERATOR_KEY: Final = SigningKey(kid="o1", key="o" * 32)
CALLER_SECRET: Final = "catalog:" + "c" * 40
SECRETS: Final = ("c" * 40, "o" * 32, "shpat_")
"""What no output may contain."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The exit code and the findings of a doctor."""

    code: int
    findings: tuple[Finding, ...]

    def problems(self) -> dict[str, str]:
        """Return the messages of what is wrong or doubtful, by check."""
        wrong = (Outcome.FAILED, Outcome.WARNING)
        return {finding.check: finding.message for finding in self.findings if finding.outcome in wrong}

    def outcome(self, check: str) -> Outcome:
        """Return the worst outcome of the checks with this name."""
        found = [finding.outcome for finding in self.findings if finding.check == check]
        return max(found, key=(Outcome.SKIPPED, Outcome.OK, Outcome.WARNING, Outcome.FAILED).index)


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What the operator has: the settings of both services, and those of the command line."""

    directory: Path
    authority: Authority
    certificate: IssuedFiles
    database_url: str
    catalog_port: int
    connector_port: int
    credentials_file: Path
    ca_of_shops: str
    shop_url: str

    def catalog(self, **changed: str) -> dict[str, str]:
        """Return the environment of catalog_svc."""
        settings = {
            "DATABASE_URL": self.database_url,
            "CONNECTOR_ADDRESS": f"127.0.0.1:{self.connector_port}",
            "CONNECTOR_SECRET": CALLER_SECRET,
            "CONNECTOR_TLS_CA_FILE": str(self.authority.file),
            "OPERATOR_KEYS": f"{OPERATOR_KEY.kid}:{OPERATOR_KEY.key}",
            **changed,
        }
        return {f"CATALOG_{name}": value for name, value in settings.items()}

    def connector(self, **changed: str) -> dict[str, str]:
        """Return the environment of connector_svc."""
        settings = {
            "SERVICE_SECRETS": CALLER_SECRET,
            "TLS_CERT_FILE": str(self.certificate.certificate),
            "TLS_KEY_FILE": str(self.certificate.key),
            "CREDENTIALS_FILE": str(self.credentials_file),
            "CA_FILE": self.ca_of_shops,
            **changed,
        }
        return {f"CONNECTOR_{name}": value for name, value in settings.items()}

    def client(self, **changed: str) -> dict[str, str]:
        """Return the environment of the command line."""
        settings = {
            "CATALOG": f"127.0.0.1:{self.catalog_port}",
            "CONNECTOR": f"127.0.0.1:{self.connector_port}",
            "CA_FILE": str(self.authority.file),
            "TOKEN": mint_operator_token(OPERATOR_KEY, name="alice", scopes=["catalog:read"]),
            "SERVICE_SECRET": CALLER_SECRET,
            "CONFIG": str(self.directory / "no-config.toml"),
            **changed,
        }
        return {f"CATALOGSYNC_{name}": value for name, value in settings.items()}

    async def diagnose(self, module: str, settings: Mapping[str, str], *arguments: str) -> Diagnosis:
        """Run the doctor of a module as a process, in a directory without a file ".env"."""
        ours = ("CATALOG_", "CONNECTOR_", "CATALOGSYNC_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "doctor", "--json", *arguments,
            cwd=self.directory, env={**kept, "PYTHONPATH": os.getcwd(), **settings},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, err = await process.communicate()
        text = out.decode()
        assert not err, err.decode()
        assert not [secret for secret in SECRETS if secret in text]
        assert process.returncode is not None
        return Diagnosis(code=process.returncode, findings=tuple(map(Finding.from_json, text.splitlines())))

    async def diagnose_catalog(self, **changed: str) -> Diagnosis:
        """Run `python -m catalog_svc doctor`."""
        return await self.diagnose("catalog_svc", self.catalog(**changed))

    async def diagnose_connector(self, **changed: str) -> Diagnosis:
        """Run `python -m connector_svc doctor`."""
        return await self.diagnose("connector_svc", self.connector(**changed))

    async def diagnose_client(self, *arguments: str, **changed: str) -> Diagnosis:
        """Run `catalogsync doctor` on a machine without settings of the services."""
        return await self.diagnose("catalogsync_cli", self.client(**changed), *arguments)


@pytest.fixture
async def installation(direct_database_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """Run both services and a store; yield their settings."""
    authority = Authority(tmp_path / "tls")
    issued = authority.issue("services", dns=("localhost",))
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=3)
    credentials = tmp_path / "credentials.toml"
    write_credentials(credentials, spec.credentials)
    async with serving([spec], tls_dir=tmp_path / "store-tls", throttle=False) as store:
        connector = ConnectorSettings(
            listen_address=ListenAddress("127.0.0.1:0"),
            service_secrets=SecretStr(CALLER_SECRET),
            credentials_file=credentials,
            ca_file=store.ca_file,
            endpoint_overrides={DOMAIN: store.base_url(DOMAIN)},
            stop_grace=timedelta(0),
            tls_cert_file=issued.certificate,
            tls_key_file=issued.key,
        )
        catalog = CatalogSettings(
            database_url=SecretStr(direct_database_url),
            listen_address=ListenAddress("127.0.0.1:0"),
            operator_keys=SecretStr(f"{OPERATOR_KEY.kid}:{OPERATOR_KEY.key}"),
            connector_address="127.0.0.1:1",
            max_running_syncs=0,
            max_running_refreshes=0,
            stop_grace=timedelta(seconds=1),
            tls_cert_file=issued.certificate,
            tls_key_file=issued.key,
        )
        async with running_connector(connector) as connector_port, bootstrap.running(catalog) as catalog_port:
            yield Installation(
                directory=tmp_path,
                authority=authority,
                certificate=issued,
                database_url=direct_database_url,
                catalog_port=catalog_port,
                connector_port=connector_port,
                credentials_file=credentials,
                ca_of_shops=str(store.ca_file),
                shop_url=store.base_url(DOMAIN),
            )


def write_credentials(file: Path, keys: Mapping[str, str]) -> None:
    """Write the credentials file of the shop."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    file.write_text("\n".join([f'[shopify."{DOMAIN}"]', *lines, ""]))
    file.chmod(0o600)
