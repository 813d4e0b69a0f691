"""Access control from settings: what is refused at the start, and that no error contains a secret."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from catalogsync_common.auth.call_access import CallAccess, NoShops
from catalogsync_common.auth.failures import Unauthenticated
from catalogsync_common.auth.settings import service_access, token_access
from catalogsync_common.settings import SettingsError
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token
from pydantic import SecretStr

from tests.security.forged_tokens import Signer

CATALOG, CONNECTOR = "catalogsync.catalog.v1.CatalogService", "catalogsync.connector.v1.ConnectorService"
METHOD = f"/{CATALOG}/ListShops"
KEY, OTHER_KEY = "canary" * 6, "other-canary" * 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of tokens, with the defaults of the service."""

    client_keys: SecretStr = field(default_factory=lambda: SecretStr(""))
    client_jwks_file: Path | None = None
    client_audience: str = "catalogsync"
    client_issuer: str = ""
    client_token_lifetime: timedelta = timedelta(minutes=15)
    client_token_compatibility: bool = False
    operator_keys: SecretStr = field(default_factory=lambda: SecretStr(""))


def catalog_access(secrets: str = "", **settings: Any) -> CallAccess | None:
    given: dict[str, Any] = {
        name: SecretStr(value) if name in ("client_keys", "operator_keys") else value
        for name, value in settings.items()
    }
    return token_access([CATALOG], Settings(**given), SecretStr(secrets), NoShops(), prefix="CATALOG_")


def caller(access: CallAccess | None, *metadata: tuple[str, str]) -> str:
    assert access is not None
    return access.admit(METHOD, metadata).id


def test_without_any_key_authentication_is_off() -> None:
    assert catalog_access() is None
    assert service_access([CONNECTOR], SecretStr(" \n"), prefix="CONNECTOR_") is None


def test_each_kind_of_key_alone_turns_authentication_on(tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [Signer.new("EdDSA", "p1").public_jwk]}))
    for access in (
        catalog_access(f"bff:{KEY}"),
        catalog_access(operator_keys=f"o1:{KEY}"),
        catalog_access(client_keys=f"c1:{KEY}", client_issuer="bff"),
        catalog_access(client_jwks_file=jwks, client_issuer="bff"),
        service_access([CONNECTOR], SecretStr(f"catalog:{KEY}"), prefix="CONNECTOR_"),
    ):
        with pytest.raises(Unauthenticated):
            caller(access)


def test_the_keys_of_the_settings_verify() -> None:
    access = catalog_access(
        f"bff:{KEY}", client_keys=f"c1:{KEY}", client_issuer="bff", operator_keys=f"o1:{OTHER_KEY}"
    )
    scopes = ["catalog:read"]
    client = mint_client_token(SigningKey(kid="c1", key=KEY), issuer="bff", domain="one.example", scopes=scopes)
    operator = mint_operator_token(SigningKey(kid="o1", key=OTHER_KEY), "ada", scopes=scopes)
    assert caller(access, ("x-service-secret", f"bff:{KEY}")) == "service:bff"
    assert caller(access, ("authorization", f"Bearer {client}")) == "client:one.example"
    assert caller(access, ("authorization", f"bearer {operator}")) == "operator:ada"


@pytest.mark.parametrize(
    ("variable", "settings"),
    [
        ("SERVICE_SECRETS", {"secrets": "bff:canary"}),
        ("SERVICE_SECRETS", {"secrets": f"{KEY}:bff"}),
        ("CLIENT_KEYS", {"client_keys": "c1:canary", "client_issuer": "bff"}),
        ("CLIENT_KEYS", {"client_keys": f"c1:{KEY},c1:{OTHER_KEY}", "client_issuer": "bff"}),
        ("OPERATOR_KEYS", {"operator_keys": KEY}),
        ("OPERATOR_KEYS", {"client_keys": f"k:{KEY}", "client_issuer": "bff", "operator_keys": f"k:{OTHER_KEY}"}),
        ("CLIENT_ISSUER", {"client_keys": f"c1:{KEY}"}),
        ("CLIENT_JWKS_FILE", {"client_jwks_file": Path("/nonexistent/jwks.json"), "client_issuer": "bff"}),
    ],
)
def test_an_invalid_setting_is_named_without_its_secret(variable: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as raised:
        catalog_access(**settings)
    (line,) = raised.value.lines
    assert line.startswith(f"CATALOG_{variable}: ")
    assert "canary" not in line
    assert raised.value.__cause__ is None


def test_the_switch_for_old_tokens_replaces_the_issuer_only_where_they_can_be_meant(tmp_path: Path) -> None:
    assert catalog_access(client_keys=f"c1:{KEY}", client_token_compatibility=True)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [Signer.new("EdDSA", "p1").public_jwk]}))
    with pytest.raises(SettingsError, match="CLIENT_ISSUER"):
        catalog_access(client_keys=f"c1:{KEY}", client_jwks_file=jwks, client_token_compatibility=True)
