"""clients/typescript under Node, against the real services: its own tests, its package and its README."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.token_minting import SigningKey, mint_operator_token

from tests.e2e.conftest import ROOT, System, free_port
from tests.e2e.node_packages import (
    install_typescript_client,
    needs_node,
    run_checked,
    run_program,
    run_until_shop_answers,
    shared_directory,
)
from tests.e2e.small_system import DOMAIN, small_system
from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.tls import Authority
from tests.waiting import until

pytestmark = [needs_node, pytest.mark.timeout(300)]
SCOPES = ("catalog:read", "catalog:sync")
TSCONFIG = {"compilerOptions": {"module": "nodenext", "target": "es2022", "strict": True, "types": ["node"]}}


@pytest.fixture(scope="session")
async def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the client, installed and compiled with its tests: tsc found no error."""
    return await install_typescript_client(shared_directory(tmp_path_factory))


async def run_node_tests(client: Path, name: str, **settings: str) -> None:
    """Run one file of the client's tests; all of them must pass, and none be skipped."""
    tests = ("node", "--test", "--test-reporter=tap", f"build/test/{name}")
    code, out = await run_program(*tests, cwd=client, settings=settings)
    assert code == 0, out
    assert re.search(r"^# skipped 0$", out, re.MULTILINE), out
    (passed,) = re.findall(r"^# pass (\d+)$", out, re.MULTILINE)
    assert int(passed) > 1, out


async def test_the_parts_that_need_no_service(client: Path) -> None:
    await run_node_tests(client, "unit/")


async def test_calls_pages_and_watches_of_the_real_catalog(client: Path, system: System) -> None:
    await run_node_tests(client, "services/catalog.test.js", CATALOG_ADDRESS=system.catalog_address)


async def test_a_watch_survives_drained_frozen_and_killed_replicas(client: Path) -> None:
    names = ("one", "two", "three", "four")
    async with small_system(products=750, latency_ms=1000) as system:
        await system.start_connector("connector")
        for name in names:
            await system.start_catalog(name, HEARTBEAT_INTERVAL="1s")
        replicas = {system.catalog_address(name): system.processes.pids[name] for name in names}
        settings = {"REPLICAS": json.dumps(replicas), "ITEMS": str(system.items)}
        await run_node_tests(client, "services/replicas.test.js", **settings)


async def test_a_worker_analyzes_every_image_although_a_replica_is_killed(client: Path) -> None:
    names = ("one", "two")
    async with small_system(products=200, latency_ms=0) as system:
        await system.start_connector("connector")
        for name in names:
            await system.start_catalog(name)
        replicas = {system.catalog_address(name): system.processes.pids[name] for name in names}
        await run_node_tests(client, "services/analysis.test.js", REPLICAS=json.dumps(replicas))


async def test_tls_mutual_tls_and_a_token_that_expires_during_a_watch(client: Path, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tls"), Authority(tmp_path / "other", "other")
    server = authority.issue("server", dns=("catalog.internal",))
    mine, renewed = authority.issue("mine", dns=("bff",)), authority.issue("renewed", dns=("bff",))
    key = SigningKey(kid="o1", key="k" * 32 + "-of-the-tests")
    async with small_system(products=400, latency_ms=10_000) as system:
        await system.start_connector("connector")
        await system.start_catalog(
            "catalog",
            TLS_CERT_FILE=str(server.certificate),
            TLS_KEY_FILE=str(server.key),
            TLS_CLIENT_CA_FILE=str(authority.file),
            HEALTH_ADDRESS=f"127.0.0.1:{free_port()}",
            OPERATOR_KEYS=f"{key.kid}:{key.key}",
            CONNECTOR_ADDRESS=system.connector,
        )
        expiring, token = (
            mint_operator_token(key, "tester", scopes=SCOPES, lifetime=lifetime)
            for lifetime in (timedelta(seconds=8), timedelta(minutes=15))
        )
        await run_node_tests(
            client,
            "services/secure.test.js",
            CATALOG_ADDRESS=system.catalog_address("catalog"),
            CA_FILE=str(authority.file),
            OTHER_CA_FILE=str(other.file),
            CERT_FILE=str(mine.certificate),
            KEY_FILE=str(mine.key),
            RENEWED_CERT_FILE=str(renewed.certificate),
            RENEWED_KEY_FILE=str(renewed.key),
            EXPIRING_TOKEN=expiring,
            TOKEN=token,
        )


async def test_a_start_is_repeated_with_its_request_id_and_streams_continue_where_they_ended(client: Path) -> None:
    """With a fake: what the real catalog does only in an outage or after minutes."""
    server = CatalogServer(FakeCatalog())
    await server.start()
    fake = server.fake
    unavailable = FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))
    fake.errors = {"StartSync": [unavailable, unavailable], "ListSyncs": [unavailable]}
    fake.reconnects = [
        pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED,
        pb.WatchSyncResponse.RECONNECT_REASON_SERVER_DRAINING,
    ]
    fake.items[f"shopify:{DOMAIN}"] = [pb.Item(item_id=str(number), feed_position=number) for number in (1, 2, 3)]
    restarting = asyncio.create_task(restart_after(server, "GetStatus"))
    await run_node_tests(client, "services/outage.test.js", CATALOG_ADDRESS=server.address)
    await restarting
    await server.kill()
    await fake.close()
    starts = [request for method, request, _ in fake.requests if method == "StartSync"]
    assert len(starts) == 3
    assert starts[0].request_id
    assert starts[0] == starts[1] == starts[2]
    assert [method for method, _, _ in fake.requests].count("WatchSync") == 3
    follows = [request.after_position for method, request, _ in fake.requests if method == "WatchItems"]
    assert follows == ["", f"{fake.incarnation}/3"]


async def restart_after(server: CatalogServer, method: str) -> None:
    """Kill the server once the method was called, and start it again at the same port."""
    await until(lambda: method in [called for called, _, _ in server.fake.requests], seconds=240)
    await server.kill()
    await server.start()


async def test_the_packed_client_and_its_readme_work_in_another_project(
    client: Path, system: System, tmp_path: Path
) -> None:
    """Under nodenext, where tsc refuses generated imports without an extension."""
    pack = ("npm", "pack", "--ignore-scripts", "--json", "--pack-destination", tmp_path)
    out = await run_checked(*pack, cwd=client)
    (packed,) = json.loads(out)
    names = {file["path"] for file in packed["files"]}
    assert {"README.md", "package.json", "dist/index.js", "dist/index.d.ts"} <= names
    assert not [name for name in names if name.startswith(("src/", "test/", "build/", "node_modules/"))]
    (tmp_path / "package.json").write_text('{"name": "bff", "type": "module", "private": true}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    await run_checked("npm", "install", "--no-audit", "--no-fund", f"./{packed['filename']}", cwd=tmp_path)
    (tmp_path / "node_modules/@types").symlink_to(client / "node_modules/@types")
    readme = (ROOT / "clients/typescript/README.md").read_text(encoding="utf-8")
    first, *others = re.findall(r"```ts\n(.*?)```", readme, re.DOTALL)
    assert "127.0.0.1:50051" in first
    (tmp_path / "first.ts").write_text(first.replace("127.0.0.1:50051", system.catalog_address))
    for number, code in enumerate(others):
        # They are only type-checked. Those without a client go on where the first one ends.
        is_program = "createCatalogClient(" in code
        (tmp_path / f"other{number}.ts").write_text(code if is_program else first + code)
    await run_checked(client / "node_modules/.bin/tsc", cwd=tmp_path)
    code, out = await run_until_shop_answers("node", "first.js", cwd=tmp_path)
    assert code == 0, out
    assert out.splitlines()[-1].startswith("SUCCEEDED"), out


def test_the_shop_of_the_nodes_tests_is_that_of_the_system() -> None:
    for file in (ROOT / "clients/typescript/test/services").glob("*.ts"):
        assert DOMAIN in file.read_text(encoding="utf-8"), file
