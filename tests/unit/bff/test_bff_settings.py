"""Settings with which the BFF does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from catalogsync_bff.settings import BffSettings
from catalogsync_bff.settings_check import check_settings
from catalogsync_common.settings import SettingsError, load_settings

KEY = "k1:" + "k" * 40
SAFE: dict[str, Any] = {
    "environment": "production",
    "public_url": "https://bff.example",
    "session_keys": KEY,
    "service_secret": KEY,
    "client_key": KEY,
    "client_issuer": "bff",
    "handover_keys": KEY,
}


def problems(**settings: Any) -> list[str]:
    """Return the variables that the check names."""
    try:
        check_settings(BffSettings(**settings))
    except SettingsError as error:
        return [line.partition(":")[0] for line in error.lines]
    return []


def test_safe_settings_are_accepted() -> None:
    assert problems() == []
    assert problems(dev_login=True) == []
    assert problems(**SAFE) == []
    assert problems(**SAFE, listen_address="0.0.0.0:80", allow_insecure=True) == []


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        (
            {
                "dev_login": True,
                "listen_address": "0.0.0.0:80",
                "allow_insecure": True,
                "public_url": "https://a.b",
            },
            ["BFF_DEV_LOGIN"],
        ),
        ({"listen_address": "0.0.0.0:80"}, ["BFF_PUBLIC_URL", "BFF_LISTEN_ADDRESS"]),
        ({"handover_keys": KEY}, ["BFF_CLIENT_KEY"]),
        ({"dev_login": True, "dev_subject": "merchant:m"}, ["BFF_CLIENT_KEY"]),
        ({"client_key": KEY}, ["BFF_CLIENT_ISSUER"]),
        ({**SAFE, "dev_login": True}, ["BFF_DEV_LOGIN"]),
        ({**SAFE, "public_url": "http://bff.example"}, ["BFF_PUBLIC_URL"]),
        ({**SAFE, "public_url": ""}, ["BFF_PUBLIC_URL"]),
        ({**SAFE, "session_keys": ""}, ["BFF_SESSION_KEYS"]),
        ({**SAFE, "service_secret": ""}, ["BFF_SERVICE_SECRET"]),
        ({**SAFE, "catalog_address": "catalog.internal:50051"}, ["BFF_CATALOG_ADDRESS"]),
        ({**SAFE, "image_hosts": "127.0.0.1:8443"}, ["BFF_IMAGE_HOSTS"]),
    ],
)
def test_unsafe_settings_are_refused(settings: dict[str, Any], variables: list[str]) -> None:
    assert problems(**settings) == variables


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("BFF_PUBLIC_URL", "bff.example", "https://host"),
        ("BFF_PUBLIC_URL", "https://bff.example/path", "https://host"),
        ("BFF_PUBLIC_URL", "https://user:pw@bff.example", "https://host"),
        ("BFF_IMAGE_HOSTS", "127.0.0.1", "hosts with ports"),
        ("BFF_IMAGE_HOSTS", "127.0.0.1:99999", "hosts with ports"),
        ("BFF_IMAGE_DENIED_NETWORKS", "10.0.0.0/99", "networks such as"),
        ("BFF_HEARTBEAT_INTERVAL", "60s", "25"),
        ("BFF_LISTEN_ADDRESS", "8080", "host:port"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, text: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"(?s){variable}.*{text}"):
        load_settings(BffSettings)


def test_every_setting_is_documented() -> None:
    root = Path(__file__).parents[3]
    document, example = (root / "docs" / "bff.md").read_text(), (root / ".env.example").read_text()
    for name in BffSettings.model_fields:
        variable = "LOG_FORMAT" if name == "log_format" else f"BFF_{name.upper()}"
        assert f"#{variable}=" in example
        # Those of TLS share a row: the first one is written out.
        is_shortened = name.startswith("catalog_tls_") and name != "catalog_tls_ca_file"
        assert f"`{variable.removeprefix('BFF_CATALOG_TLS') if is_shortened else variable}`" in document


def test_secrets_are_in_no_repr() -> None:
    assert "k" * 40 not in repr(BffSettings(**SAFE))
