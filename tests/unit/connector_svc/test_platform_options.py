"""Options of platforms: declared by a platform, read from the environment, and passed to it by the registry."""

from __future__ import annotations

from enum import Enum

import pytest
from catalogsync_common.settings import SettingsError, load_settings, unknown_settings

from connector_svc.platforms.base import PlatformDefinition, PlatformDependencies, PlatformOption
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.settings import ConnectorSettings, settings_with_options
from tests.fakes.listed_platform import ListedPlatform


class Order(Enum):
    BY_ID = "by_id"
    BY_DATE = "by_date"


def create(dependencies: PlatformDependencies) -> ListedPlatform:
    return ListedPlatform()


LISTED = PlatformDefinition(
    name="listed", create=create, options=(PlatformOption(name="order", default=Order.BY_ID),)
)


def test_an_option_is_read_from_the_variable_of_its_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_LISTED_ORDER", "by_date")
    settings = load_settings(settings_with_options([LISTED]))
    assert settings.options_of(LISTED) == {"order": Order.BY_DATE}


def test_an_option_that_is_not_set_has_its_default() -> None:
    for settings in (load_settings(settings_with_options([LISTED])), ConnectorSettings()):
        assert settings.options_of(LISTED) == {"order": Order.BY_ID}


def test_a_wrong_option_is_an_error_that_names_the_variable_and_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONNECTOR_LISTED_ORDER", "by_price")
    with pytest.raises(SettingsError, match="CONNECTOR_LISTED_ORDER: Input should be 'by_id' or 'by_date'"):
        load_settings(settings_with_options([LISTED]))


def test_an_option_is_a_known_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_LISTED_ORDER", "by_date")
    assert "CONNECTOR_LISTED_ORDER" not in str(unknown_settings(settings_with_options([LISTED])))
    assert "CONNECTOR_LISTED_ORDER" in str(unknown_settings(ConnectorSettings))


def test_every_registered_platform_has_a_name_of_its_own() -> None:
    names = [platform.name for platform in PLATFORMS]
    assert len(names) == len(set(names))
