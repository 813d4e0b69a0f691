"""Both services as processes, with mTLS between them: rotation under a running sync, and a refused client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.status import read_failure_now

from tests.e2e.conftest import free_port
from tests.e2e.small_system import SHOP, SmallSystem, small_system
from tests.tls import Authority, IssuedFiles, der_of, replace_file, served_certificate

CATALOG_NAME = "spiffe://acme/catalog"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """The authority of both services, the CAs that connector_svc accepts, and the certificates."""

    authority: Authority
    client_cas: Path
    connector: IssuedFiles
    catalog: IssuedFiles

    @classmethod
    def create(cls, directory: Path, *, catalog_name: str = CATALOG_NAME) -> Certificates:
        """Return new certificates in `directory`."""
        authority = Authority(directory)
        replace_file(directory / "clients.pem", authority.file.read_bytes())
        return cls(
            authority=authority,
            client_cas=directory / "clients.pem",
            connector=authority.issue("connector", dns=("connector.internal",), addresses=()),
            catalog=authority.issue("catalog", dns=("localhost",), uris=(catalog_name,)),
        )

    def connector_settings(self) -> dict[str, str]:
        return {
            "TLS_CERT_FILE": str(self.connector.certificate),
            "TLS_KEY_FILE": str(self.connector.key),
            "TLS_CLIENT_CA_FILE": str(self.client_cas),
            "TLS_ALLOWED_NAMES": f"other.internal,{CATALOG_NAME}",
            "HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
        }

    def catalog_settings(self) -> dict[str, str]:
        return {
            "TLS_CERT_FILE": str(self.catalog.certificate),
            "TLS_KEY_FILE": str(self.catalog.key),
            "CONNECTOR_TLS_CA_FILE": str(self.authority.file),
            "CONNECTOR_TLS_CERT_FILE": str(self.catalog.certificate),
            "CONNECTOR_TLS_KEY_FILE": str(self.catalog.key),
            "CONNECTOR_TLS_SERVER_NAME": "connector.internal",
            "HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
            "LEASE_TTL": "15s",
        }

    def client(self) -> ClientTls:
        """Return the configuration of a client of catalog_svc."""
        return ClientTls.read(ca_file=self.authority.file)


async def start(system: SmallSystem, certificates: Certificates) -> None:
    await system.start_connector("connector", **certificates.connector_settings())
    await system.start_catalog("catalog", **certificates.catalog_settings())


async def sync_to_end(
    stub: CatalogServiceStub, on_progress: Callable[[], Awaitable[None]] | None = None
) -> tuple[pb.Sync, set[int]]:
    """Run a full sync; return its end and the reasons of its waits.

    `on_progress` is called once, while the sync runs and after its first items were stored.
    """
    sync = (await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL))).sync
    waits: set[int] = set()
    async with asyncio.timeout(150):
        async for message in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id)):
            sync = message.sync
            waits.add(sync.waiting.reason)
            if on_progress is not None and sync.progress.items.seen_count:
                assert sync.state == pb.Sync.STATE_RUNNING
                await on_progress()
                on_progress = None
    assert on_progress is None
    return sync, waits


async def test_certificates_are_rotated_under_a_running_sync(tmp_path: Path) -> None:
    certificates = Certificates.create(tmp_path / "tls")
    async with small_system(products=750, latency_ms=500) as system:
        await start(system, certificates)
        async with system.stub("catalog", tls=certificates.client()) as stub:
            sync, waits = await sync_to_end(stub, lambda: _rotate(system, certificates, tmp_path / "next"))
            assert (sync.state, sync.attempt_count) == (pb.Sync.STATE_SUCCEEDED, 1)
            assert sync.progress.items.created_count == system.items
            assert pb.Waiting.REASON_CONNECTOR not in waits
            # The connector accepts the old certificate of the catalog no more: this sync uses the new one.
            sync, waits = await sync_to_end(stub)
            assert sync.state == pb.Sync.STATE_SUCCEEDED
            assert pb.Waiting.REASON_CONNECTOR not in waits


async def _rotate(system: SmallSystem, certificates: Certificates, directory: Path) -> None:
    """Give both services certificates of a new authority, which replaces the old one at the connector."""
    renewed = certificates.authority.issue("connector", dns=("connector.internal",), addresses=())
    port = int(system.connector.rpartition(":")[2])
    assert await served_certificate(port) == der_of(renewed)
    new_authority = Authority(directory, "new")
    own = new_authority.issue("catalog", dns=("localhost",), uris=(CATALOG_NAME,))
    replace_file(certificates.client_cas, new_authority.file.read_bytes())
    replace_file(certificates.catalog.key, own.key.read_bytes(), mode=0o600)
    replace_file(certificates.catalog.certificate, own.certificate.read_bytes())


async def test_a_catalog_whose_certificate_has_another_name_cannot_use_the_connector(tmp_path: Path) -> None:
    certificates = Certificates.create(tmp_path / "tls", catalog_name="spiffe://acme/other")
    async with small_system(products=20, latency_ms=0) as system:
        await start(system, certificates)
        async with system.stub("catalog", tls=certificates.client()) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.StartSync(pb.StartSyncRequest(shop=SHOP, mode=pb.Sync.MODE_FULL), timeout=60)
        log = (system.directory / "logs" / "connector.log").read_text()
    assert read_failure_now(caught.value).reason == "CONNECTOR_UNAVAILABLE"
    assert "none of the allowed names" in log
    assert "spiffe://acme/other" in log
