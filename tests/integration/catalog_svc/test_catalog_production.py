"""catalog_svc in production as an operator starts it: every unsafe setting has a line on standard error."""

from __future__ import annotations

from pathlib import Path

from tests.integration.catalog_svc.test_catalog_process import catalog, ended
from tests.tls import Authority, replace_file


async def test_all_unsafe_settings_are_named_at_once_and_no_password_is_printed() -> None:
    async with catalog(
        ENVIRONMENT="production",
        LISTEN_ADDRESS="0.0.0.0:0",
        ALLOW_INSECURE="1",
        CONNECTOR_ADDRESS="dns:///connector.internal:50052",
        DATABASE_URL="postgresql://catalog:hunter2canary@db.internal/catalog",
    ) as process:
        code, err = await ended(process)
    assert code == 2
    for variable in ("LISTEN_ADDRESS", "ALLOW_INSECURE", "REFLECTION", "CONNECTOR_ADDRESS", "DATABASE_URL"):
        assert f"\nCATALOG_{variable}: " in f"\n{err}"
    assert "no authentication is configured" in err
    assert "hunter2canary" not in err


async def test_an_unusable_certificate_file_ends_the_start_with_its_variable(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued, other = authority.issue("server"), authority.issue("other")
    replace_file(issued.key, other.key.read_bytes())
    async with catalog(TLS_CERT_FILE=str(issued.certificate), TLS_KEY_FILE=str(issued.key)) as process:
        code, err = await ended(process)
    assert code == 2
    expected = (
        f"CATALOG_TLS_KEY_FILE: {issued.key} is not the key of the first certificate in {issued.certificate}"
    )
    assert err.splitlines()[-1] == expected
