"""Settings from the environment; errors name the variable and never contain a secret."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from catalogsync_common.settings import (
    Duration,
    ListenAddress,
    ServiceSettings,
    SettingsError,
    load_settings,
    unknown_settings,
)
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

SECRET = "shpat_0123456789abcdef-canary"


class ShopSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    listen_address: ListenAddress = ListenAddress("127.0.0.1:50051")
    timeout: Duration = timedelta(seconds=15)
    batch: int = 100
    api_key: SecretStr | None = None
    overrides: dict[str, str] = Field(default_factory=dict)

    @field_validator("api_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 1000:
            raise ValueError(f"{value.get_secret_value()} is too short")
        return value


class RequiredSettings(ShopSettings):
    database_url: SecretStr


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LOG_FORMAT", "SHOP_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


def error_lines(kind: type[ServiceSettings]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(kind)
    return caught.value.lines


def test_without_variables_the_defaults_apply() -> None:
    settings = load_settings(ShopSettings)
    assert (settings.listen_address, settings.timeout) == ("127.0.0.1:50051", timedelta(seconds=15))
    assert not settings.allow_insecure


def test_variables_have_the_prefix_of_the_service_and_unknown_ones_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_LISTEN_ADDRESS", "[::1]:0")
    monkeypatch.setenv("SHOP_TIMEOUT", "500ms")
    monkeypatch.setenv("SHOP_ALLOW_INSECURE", "1")
    monkeypatch.setenv("SHOP_OVERRIDES", '{"store.example": "https://127.0.0.1:8443"}')
    monkeypatch.setenv("SHOP_FUTURE", "x")
    monkeypatch.setenv("LOG_FORMAT", "text")
    settings = load_settings(ShopSettings)
    assert isinstance(settings.listen_address, ListenAddress)
    assert (settings.listen_address.host, settings.listen_address.port) == ("::1", 0)
    assert settings.timeout == timedelta(milliseconds=500)
    assert settings.overrides == {"store.example": "https://127.0.0.1:8443"}
    assert settings.allow_insecure
    assert settings.log_format == "text"


def test_a_dotenv_file_is_read_and_the_environment_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SHOP_BATCH=7\nSHOP_TIMEOUT=1h\nOTHER=1\n")
    monkeypatch.setenv("SHOP_TIMEOUT", "2")
    settings = load_settings(ShopSettings)
    assert (settings.batch, settings.timeout) == (7, timedelta(seconds=2))


def test_each_invalid_variable_has_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_LISTEN_ADDRESS", "localhost")
    monkeypatch.setenv("SHOP_TIMEOUT", "soon")
    monkeypatch.setenv("SHOP_BATCH", "many")
    monkeypatch.setenv("LOG_FORMAT", "xml")
    lines = error_lines(RequiredSettings)
    assert [line.partition(":")[0] for line in sorted(lines)] == [
        "LOG_FORMAT",
        "SHOP_BATCH",
        "SHOP_DATABASE_URL",
        "SHOP_LISTEN_ADDRESS",
        "SHOP_TIMEOUT",
    ]
    assert "SHOP_DATABASE_URL: is missing" in lines
    assert 'SHOP_LISTEN_ADDRESS: expected host:port, such as "127.0.0.1:50051" or "[::1]:50051"' in lines
    assert not any("\n" in line for line in lines)


def test_invalid_json_is_reported_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_OVERRIDES", "{store")
    assert error_lines(ShopSettings) == ("SHOP_OVERRIDES: expected JSON",)


def test_an_invalid_part_of_a_json_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_OVERRIDES", '{"store.example": []}')
    (line,) = error_lines(ShopSettings)
    assert line.startswith("SHOP_OVERRIDES[store.example]: ")


def test_a_secret_is_in_no_error_even_if_its_validator_quotes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings(ShopSettings)
    assert caught.value.lines == ("SHOP_API_KEY: is not valid",)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__} {caught.value.__suppress_context__}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15),
        ("24h", 86400),
        ("500ms", 0.5),
        ("3", 3),
        ("0.25", 0.25),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0", 0),
    ],
)
def test_durations_are_parsed(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TIMEOUT", text)
    assert load_settings(ShopSettings).timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1s", "15 s", "s", "1x", "1h x", "nan", "P1D", "9" * 30])
def test_invalid_durations_are_rejected(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TIMEOUT", text)
    (line,) = error_lines(ShopSettings)
    assert line.startswith("SHOP_TIMEOUT: ")


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:1", "LocalHost:0"])
def test_loopback_addresses(text: str) -> None:
    assert ListenAddress(text).is_loopback


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "catalog:1", "localhost.evil.example:1"])
def test_addresses_that_other_machines_may_reach(text: str) -> None:
    assert not ListenAddress(text).is_loopback


@pytest.mark.parametrize(
    "text", ["", "50051", ":50051", "::1:50051", "[::1]", "[zz]:1", "a:99999", "a:1\n", "a b:1"]
)
def test_invalid_addresses_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        ListenAddress(text)


def test_settings_are_immutable() -> None:
    settings: Any = load_settings(ShopSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.batch = 1


def test_a_misspelt_setting_is_named_with_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TIMOUT", SECRET)
    monkeypatch.setenv("SHOP_ALOW_INSECURE", "1")
    monkeypatch.setenv("SHOP_TIMEOUT", "3s")
    monkeypatch.setenv("LOG_FORMAT", "text")
    monkeypatch.setenv("OTHER_TIMOUT", "3s")
    (tmp_path / ".env").write_text("SHOP_BACH=7\nSHOP_BATCH=8\n")
    assert unknown_settings(ShopSettings) == (
        "SHOP_ALOW_INSECURE is not a setting of this service and has no effect; did you mean SHOP_ALLOW_INSECURE?",
        "SHOP_BACH is not a setting of this service and has no effect; did you mean SHOP_BATCH?",
        "SHOP_TIMOUT is not a setting of this service and has no effect; did you mean SHOP_TIMEOUT?",
    )


def test_an_unknown_variable_unlike_any_setting_is_named_without_a_suggestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Kubernetes sets such variables for every Service of that name.
    monkeypatch.setenv("SHOP_PORT_50051_TCP", "tcp://10.0.0.1:50051")
    assert unknown_settings(ShopSettings) == (
        "SHOP_PORT_50051_TCP is not a setting of this service and has no effect",
    )


def test_a_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("SHOP_SERVICE_SECRETS_FILE", str(file))
    settings = load_settings(ShopSettings)
    assert settings.service_secrets.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert unknown_settings(ShopSettings) == ()
    monkeypatch.setenv("SHOP_SERVICE_SECRETS", "of the environment")
    assert load_settings(ShopSettings).service_secrets.get_secret_value() == "of the environment"


def test_a_secret_file_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOP_SERVICE_SECRETS_FILE", str(tmp_path / "missing"))
    assert error_lines(ShopSettings) == (f"SHOP_SERVICE_SECRETS_FILE: {tmp_path / 'missing'} cannot be read",)


def test_only_secrets_can_be_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_BATCH_FILE", "/etc/passwd")
    assert load_settings(ShopSettings).batch == 100
    assert len(unknown_settings(ShopSettings)) == 1
