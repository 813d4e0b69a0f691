"""Each fault that an operator can plant is named by exactly one finding, in one sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.diagnosis import Outcome
from catalogsync_common.token_minting import SigningKey, mint_operator_token
from sqlalchemy.engine import make_url

from catalog_svc.doctor import diagnose
from tests.conftest import execute, owner_url, with_database
from tests.e2e.conftest import free_port
from tests.fakes.checking_connector import CheckingConnector
from tests.integration.doctor.conftest import OPERATOR_KEY, SHOP, Diagnosis, Installation, write_credentials
from tests.tls import NOT_BEFORE, Authority, IssuedFiles


def check_one(diagnosis: Diagnosis, check: str, *words: str, outcome: Outcome = Outcome.FAILED) -> None:
    """Assert that one check alone has found something, in one line that has all the words."""
    assert list(diagnosis.problems()) == [check], diagnosis.problems()
    message = diagnosis.problems()[check]
    assert diagnosis.outcome(check) is outcome
    assert diagnosis.code == (1 if outcome is Outcome.FAILED else 0)
    assert "\n" not in message
    for word in words:
        assert re.search(word, message), (word, message)


@asynccontextmanager
async def serving_with(certificate: IssuedFiles) -> AsyncIterator[str]:
    """Serve connector_svc's contract with a certificate with which the service itself would not start."""
    server = grpc.aio.server()
    add_ConnectorServiceServicer_to_server(CheckingConnector(), server)
    pair = (certificate.key.read_bytes(), certificate.certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_healthy_installation_has_no_problem(installation: Installation) -> None:
    for diagnosis in (
        await installation.diagnose_catalog(),
        await installation.diagnose_connector(),
        await installation.diagnose_client(SHOP),
    ):
        assert (diagnosis.code, diagnosis.problems()) == (0, {})


# Settings


async def test_a_misspelt_setting_of_catalog_svc(installation: Installation) -> None:
    found = await installation.diagnose_catalog(LEASE_TLL="20s")
    check_one(found, "settings", "CATALOG_LEASE_TLL", "did you mean CATALOG_LEASE_TTL", outcome=Outcome.WARNING)


async def test_a_misspelt_setting_of_connector_svc(installation: Installation) -> None:
    found = await installation.diagnose_connector(HTTP_TIMEOT="20s")
    check_one(found, "settings", "did you mean CONNECTOR_HTTP_TIMEOUT", outcome=Outcome.WARNING)


async def test_a_misspelt_setting_of_the_command_line(installation: Installation) -> None:
    found = await installation.diagnose_client(TOKEN_FIEL="x")
    check_one(found, "settings", "did you mean CATALOGSYNC_TOKEN_FILE", outcome=Outcome.WARNING)


async def test_an_invalid_duration(installation: Installation) -> None:
    found = await installation.diagnose_catalog(LEASE_TTL="5 parsecs")
    check_one(found, "settings", "CATALOG_LEASE_TTL", 'such as "15s"')
    assert found.outcome("everything else") is Outcome.SKIPPED


async def test_settings_that_are_unsafe_in_production(installation: Installation) -> None:
    found = await installation.diagnose_connector(
        ENVIRONMENT="production", TOKEN_SERVICE_URL="http://tokens.example"
    )
    assert found.outcome("production") is Outcome.FAILED
    assert "must begin with https://" in found.problems()["production"]


# The database


async def test_a_database_that_does_not_run(installation: Installation) -> None:
    url = f"postgresql://catalog_app:hidden-password@127.0.0.1:{free_port()}/catalog"
    found = await installation.diagnose_catalog(DATABASE_URL=url)
    check_one(found, "database connection", "cannot connect to 127.0.0.1", "start PostgreSQL")
    assert "hidden-password" not in found.problems()["database connection"]


async def test_a_database_that_does_not_exist(installation: Installation) -> None:
    url = with_database(installation.database_url, "missing")
    found = await installation.diagnose_catalog(DATABASE_URL=url)
    check_one(found, "database connection", '"missing" does not exist', "correct user, password or database name")


async def test_a_role_without_rights(installation: Installation) -> None:
    owner = owner_url(installation.database_url)
    await execute(make_superuser(owner), "DROP ROLE IF EXISTS without_rights")
    await execute(make_superuser(owner), "CREATE ROLE without_rights LOGIN")
    url = make_url(owner).set(username="without_rights").render_as_string(hide_password=False)
    found = await installation.diagnose_catalog(DATABASE_URL=url)
    rights = "database rights"
    assert found.outcome(rights) is Outcome.FAILED
    assert re.search(r"lacks .* more rights: run `python -m catalog_svc migrate`", found.problems()[rights])
    assert "CATALOG_SERVICE_ROLE" in found.problems()[rights]
    assert found.code == 1


async def test_a_role_that_lacks_one_right(installation: Installation) -> None:
    await execute(owner_url(installation.database_url), "REVOKE DELETE ON item FROM catalog_app")
    check_one(await installation.diagnose_catalog(), "database rights", "lacks DELETE on item: run")


async def test_a_database_without_a_schema(installation: Installation, empty_database_url: str) -> None:
    found = await installation.diagnose_catalog(DATABASE_URL=empty_database_url)
    check_one(found, "database schema", "there is no schema yet", "run `python -m catalog_svc migrate`")


async def test_a_schema_that_is_behind(installation: Installation) -> None:
    await set_schema(installation, "UPDATE alembic_version SET version_num = '0001'")
    found = await installation.diagnose_catalog()
    check_one(found, "database schema", "the schema is 0001", "run `python -m catalog_svc migrate`")


async def test_a_schema_that_is_ahead(installation: Installation) -> None:
    await set_schema(installation, "UPDATE alembic_version SET version_num = '9999'")
    assert (await installation.diagnose_catalog()).problems() == {}, "a newer schema may be compatible"
    await set_schema(installation, "UPDATE schema_compatibility SET min_compatible = '9998'")
    found = await installation.diagnose_catalog()
    check_one(found, "database schema", "the schema is 9999", "start a newer release")


async def test_a_role_that_row_level_security_does_not_bind(installation: Installation) -> None:
    found = await installation.diagnose_catalog(DATABASE_URL=owner_url(installation.database_url))
    check_one(found, "database isolation", "owns the tables", "connect with another", outcome=Outcome.WARNING)


async def test_a_clock_that_is_wrong(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in installation.catalog().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(installation.directory)
    ahead = timedelta(minutes=3)
    found = Diagnosis(
        code=1, findings=tuple([one async for one in diagnose(clock=lambda: datetime.now(UTC) + ahead)])
    )
    assert set(found.problems()) == {"database clock", "clock of connector_svc"}
    for message in found.problems().values():
        assert re.search(r"180 s ahead of .*: synchronize both with NTP", message)


# The connector


async def test_a_connector_that_does_not_run(installation: Installation) -> None:
    found = await installation.diagnose_catalog(CONNECTOR_ADDRESS=f"127.0.0.1:{free_port()}")
    check_one(found, "connection to connector_svc", "nothing listens", "start connector_svc", "CONNECTOR_ADDRESS")


async def test_a_connector_whose_name_is_unknown(installation: Installation) -> None:
    found = await installation.diagnose_catalog(CONNECTOR_ADDRESS="dns:///connector.invalid:50052")
    check_one(found, "connection to connector_svc", "connector.invalid", "correct CATALOG_CONNECTOR_ADDRESS")


async def test_a_certificate_that_has_expired(installation: Installation) -> None:
    expired = installation.authority.issue(
        "expired", not_before=NOT_BEFORE - timedelta(days=9), not_after=datetime.now(UTC) - timedelta(hours=1)
    )
    async with serving_with(expired) as address:
        found = await installation.diagnose_catalog(CONNECTOR_ADDRESS=address)
    check_one(found, "certificate of connector_svc", "has expired", "renew it")


async def test_a_certificate_that_expires_soon(installation: Installation) -> None:
    ends = datetime.now(UTC) + timedelta(days=3, hours=1)
    async with serving_with(installation.authority.issue("short", not_after=ends)) as address:
        found = await installation.diagnose_catalog(CONNECTOR_ADDRESS=address, CONNECTOR_SECRET="")
    check_one(found, "certificate of connector_svc", "expires in 3d", "renew it now", outcome=Outcome.WARNING)


async def test_a_certificate_of_the_service_itself_that_has_expired(installation: Installation) -> None:
    expired = installation.authority.issue(
        "own", not_before=NOT_BEFORE - timedelta(days=9), not_after=datetime.now(UTC) - timedelta(hours=1)
    )
    found = await installation.diagnose_connector(
        TLS_CERT_FILE=str(expired.certificate), TLS_KEY_FILE=str(expired.key)
    )
    check_one(found, "TLS files of the server", "CONNECTOR_TLS_CERT_FILE", "has expired on")


async def test_a_wrong_ca(installation: Installation, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    found = await installation.diagnose_catalog(CONNECTOR_TLS_CA_FILE=str(other.file))
    check_one(found, "certificate of connector_svc", "not signed by a CA", "CATALOG_CONNECTOR_TLS_CA_FILE")


async def test_a_certificate_with_another_name(installation: Installation) -> None:
    found = await installation.diagnose_catalog(CONNECTOR_TLS_SERVER_NAME="other.internal")
    check_one(found, "certificate of connector_svc", "another name", "CATALOG_CONNECTOR_TLS_SERVER_NAME")


async def test_a_connector_that_requires_tls(installation: Installation) -> None:
    found = await installation.diagnose_catalog(CONNECTOR_TLS_CA_FILE="")
    check_one(found, "connection to connector_svc", "requires TLS", "CATALOG_CONNECTOR_TLS_CA_FILE")


async def test_a_secret_that_the_connector_refuses(installation: Installation) -> None:
    found = await installation.diagnose_catalog(CONNECTOR_SECRET="catalog:" + "x" * 40)
    check_one(found, "secret for connector_svc", "refuses CATALOG_CONNECTOR_SECRET", "CONNECTOR_SERVICE_SECRETS")


async def test_a_credentials_file_that_is_broken(installation: Installation) -> None:
    installation.credentials_file.write_text('[shopify."demo.myshopify.com"\naccess_token = "shpat_x"\n')
    found = await installation.diagnose_connector()
    check_one(found, "credentials of shops", "CONNECTOR_CREDENTIALS_FILE", "line 1")


async def test_a_credentials_file_that_others_can_read(installation: Installation) -> None:
    installation.credentials_file.chmod(0o644)
    found = await installation.diagnose_connector()
    check_one(found, "credentials of shops", "run chmod 600", outcome=Outcome.WARNING)


# The command line


async def test_a_token_that_has_expired(installation: Installation) -> None:
    token = mint_operator_token(OPERATOR_KEY, name="alice", scopes=["catalog:read"], lifetime=timedelta(hours=-1))
    found = await installation.diagnose_client(TOKEN=token)
    assert set(found.problems()) == {"token", "token for catalog_svc"}
    assert found.code == 1
    assert "has expired on" in found.problems()["token"]
    assert "mint another one with `catalogsync token`" in found.problems()["token"]


async def test_a_token_that_is_refused(installation: Installation) -> None:
    token = mint_operator_token(SigningKey(kid="other", key="n" * 32), name="alice", scopes=["catalog:read"])
    found = await installation.diagnose_client(TOKEN=token)
    check_one(found, "token for catalog_svc", "refuses the token", "CATALOG_OPERATOR_KEYS")


async def test_a_token_without_a_scope(installation: Installation) -> None:
    token = mint_operator_token(OPERATOR_KEY, name="alice", scopes=["catalog:sync"])
    found = await installation.diagnose_client(TOKEN=token)
    check_one(found, "token for catalog_svc", "lacks a scope", "--scope catalog:read")


async def test_a_wrong_ca_of_the_command_line(installation: Installation, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    found = await installation.diagnose_client(CA_FILE=str(other.file))
    assert set(found.problems()) == {"certificate of catalog_svc", "certificate of connector_svc"}
    assert "--ca-file" in found.problems()["certificate of catalog_svc"]


async def test_credentials_that_the_shop_refuses(installation: Installation) -> None:
    write_credentials(installation.credentials_file, {"access_token": "shpat_wrong"})
    found = await installation.diagnose_client(SHOP)
    check_one(found, f"credentials of {SHOP}", "SOURCE_UNAUTHORIZED", "give connector_svc credentials")


async def test_a_shop_without_credentials(installation: Installation) -> None:
    found = await installation.diagnose_client("shopify:other.myshopify.com")
    check_one(found, "credentials of shopify:other.myshopify.com", "CREDENTIALS_NOT_FOUND", "import-credentials")


async def test_the_command_line_runs_the_doctors_of_services_that_are_configured_here(
    installation: Installation,
) -> None:
    settings = {**installation.client(), **installation.catalog(LEASE_TLL="1s"), **installation.connector()}
    found = await installation.diagnose("catalogsync_cli", settings)
    assert [*found.problems()] == ["settings"]
    assert {finding.origin for finding in found.findings} == {"catalogsync", "catalog_svc", "connector_svc"}
    assert found.outcome("database schema") is Outcome.OK


def make_superuser(url: str) -> str:
    """Return the URL with the role of the superuser."""
    return make_url(url).set(username="postgres").render_as_string(hide_password=False)


async def set_schema(installation: Installation, statement: str) -> None:
    """Change the version of the schema, as migrations of another release do."""
    await execute(owner_url(installation.database_url), statement)
