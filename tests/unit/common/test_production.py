"""In production a service refuses every unsafe combination of settings; in development it starts as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from catalogsync_common.loopback import is_loopback_target
from catalogsync_common.production import (
    is_plaintext_url_beyond_loopback,
    production_violations,
    refuse_unsafe_production,
)
from catalogsync_common.settings import ServiceSettings, SettingsError
from pydantic_settings import SettingsConfigDict

from catalog_svc import production as catalog_production
from catalog_svc.settings import CatalogSettings
from connector_svc import production as connector_production
from connector_svc.settings import ConnectorSettings

PASSWORD = "hunter2-canary"
CERTIFICATE = Path("/etc/tls/tls.crt")


class Authenticated(ServiceSettings):
    """Settings of a service with authentication."""

    model_config = SettingsConfigDict(env_prefix="X_")

    with_tokens: bool = True

    @property
    def authentication_enabled(self) -> bool:
        return self.with_tokens


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def variables(violations: tuple[str, ...]) -> list[str]:
    """Return the variables that the sentences begin with."""
    assert all(PASSWORD not in sentence and sentence.endswith(".") for sentence in violations)
    return [sentence.partition(":")[0] for sentence in violations]


COMMON_CASES: list[tuple[dict[str, Any], str]] = [
    ({"with_tokens": False}, "X_…"),
    ({"listen_address": "0.0.0.0:50051"}, "X_LISTEN_ADDRESS"),
    ({"allow_insecure": True}, "X_ALLOW_INSECURE"),
]


def combinations() -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield every combination of the unsafe settings, with the variables that must be named."""
    for chosen in product((False, True), repeat=len(COMMON_CASES)):
        picked = [case for case, is_chosen in zip(COMMON_CASES, chosen, strict=True) if is_chosen]
        fields = {name: value for case, _ in picked for name, value in case.items()}
        # Without authentication, reflection is open as well.
        also = ["X_REFLECTION"] if "with_tokens" in fields else []
        yield fields, [variable for _, variable in picked] + also


@pytest.mark.parametrize(("fields", "expected"), list(combinations()))
def test_each_unsafe_setting_is_named_in_every_combination(fields: dict[str, Any], expected: list[str]) -> None:
    settings = Authenticated(environment="production", **fields)
    assert variables(production_violations(settings)) == expected
    if not expected:
        refuse_unsafe_production(settings)
        return
    with pytest.raises(SettingsError) as caught:
        refuse_unsafe_production(settings)
    assert variables(caught.value.lines) == expected


@pytest.mark.parametrize(("fields", "expected"), list(combinations()))
def test_development_refuses_none_of_them_here(fields: dict[str, Any], expected: list[str]) -> None:
    refuse_unsafe_production(Authenticated(environment="development", **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"listen_address": "0.0.0.0:50051", "tls_cert_file": CERTIFICATE, "tls_key_file": CERTIFICATE},
        {"listen_address": "[::1]:50051"},
        {"reflection": False},
        {"metrics_address": "0.0.0.0:9051", "health_address": "0.0.0.0:50061"},
    ],
)
def test_safe_settings_are_accepted(fields: dict[str, Any]) -> None:
    refuse_unsafe_production(Authenticated(environment="production", **fields))


def test_the_services_without_authentication_do_not_start() -> None:
    services: list[tuple[ServiceSettings, Callable[[], Any]]] = [
        (CatalogSettings(environment="production"), lambda: catalog_production.PRODUCTION_RULES),
        (ConnectorSettings(environment="production"), lambda: connector_production.PRODUCTION_RULES),
    ]
    for settings, rules in services:
        prefix = str(settings.model_config.get("env_prefix"))
        assert f"{prefix}REFLECTION" in variables(production_violations(settings, rules()))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"connector_address": "10.0.0.7:50052"}, ["CATALOG_CONNECTOR_ADDRESS"]),
        ({"connector_address": "dns:///connector:50052"}, ["CATALOG_CONNECTOR_ADDRESS"]),
        ({"connector_address": "ipv4:127.0.0.1:1,10.0.0.7:1"}, ["CATALOG_CONNECTOR_ADDRESS"]),
        ({"connector_address": "dns:///connector:50052", "connector_tls_ca_file": CERTIFICATE}, []),
        ({"connector_address": "ipv6:[::1]:50052"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}@db/catalog"}, ["CATALOG_DATABASE_URL"]),
        ({"database_url": f"postgresql://u:{PASSWORD}@db/catalog?sslmode=prefer"}, ["CATALOG_DATABASE_URL"]),
        ({"database_url": f"postgresql://u:{PASSWORD}@127.0.0.1,db:5433/catalog"}, ["CATALOG_DATABASE_URL"]),
        ({"database_url": f"postgresql://u:{PASSWORD}@/catalog?host=db"}, ["CATALOG_DATABASE_URL"]),
        ({"database_url": f"postgresql://u:{PASSWORD}@[2001:db8::1]:5432/catalog"}, ["CATALOG_DATABASE_URL"]),
        ({"database_url": f"postgresql://u:{PASSWORD}@db/catalog?sslmode=require"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}@db/catalog?sslmode=verify-full"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}@localhost:5432/catalog"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}@[::1]/catalog"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}@/catalog?host=/run/postgresql"}, []),
        ({"database_url": f"postgresql://u:{PASSWORD}%40db@127.0.0.1/catalog"}, []),
        (
            {"connector_address": "connector:1", "database_url": "postgresql://db/catalog"},
            ["CATALOG_CONNECTOR_ADDRESS", "CATALOG_DATABASE_URL"],
        ),
    ],
)
def test_connections_of_the_catalog_to_other_machines_are_encrypted(
    fields: dict[str, Any], expected: list[str]
) -> None:
    settings = CatalogSettings(**fields)
    of_every_service = production_violations(settings)
    violations = production_violations(settings, catalog_production.PRODUCTION_RULES)
    assert variables(violations[len(of_every_service) :]) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"token_service_url": "https://tokens.internal"}, []),
        ({"token_service_url": "http://127.0.0.1:8080"}, []),
        ({"token_service_url": "http://tokens.internal"}, ["CONNECTOR_TOKEN_SERVICE_URL"]),
        ({"endpoint_overrides": {"a.example": "https://10.0.0.1"}}, ["CONNECTOR_ENDPOINT_OVERRIDES"]),
    ],
)
def test_the_connector_fetches_no_credentials_in_plaintext_and_has_no_overrides(
    fields: dict[str, Any], expected: list[str]
) -> None:
    settings = ConnectorSettings(**fields)
    of_every_service = production_violations(settings)
    violations = production_violations(settings, connector_production.PRODUCTION_RULES)
    assert variables(violations[len(of_every_service) :]) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:50052", True),
        ("localhost:50052", True),
        ("[::1]:50052", True),
        ("dns:///localhost:50052", True),
        ("dns:localhost:50052", True),
        ("dns://8.8.8.8/localhost:50052", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv6:[::1]:1", True),
        ("unix:/run/connector.sock", True),
        ("unix:///run/connector.sock", True),
        ("connector:50052", False),
        ("dns:///connector:50052", False),
        ("ipv6:[::1]:1,[2001:db8::1]:1", False),
        ("xds:///localhost", False),
        ("localhost.evil.example:1", False),
        ("", False),
    ],
)
def test_targets_on_this_machine(target: str, expected: bool) -> None:
    assert is_loopback_target(target) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", False),
        ("http://[::1]:1", False),
        ("http://a.example", True),
        ("http://127.0.0.1.x", True),
    ],
)
def test_plaintext_urls(url: str, expected: bool) -> None:
    assert is_plaintext_url_beyond_loopback(url) is expected
