from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from connector_svc.credentials.file import CredentialsFileInvalid, FileCredentials
from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Secret
from connector_svc.platforms.webhooks import webhook_secrets

SHOPIFY = Shop("shopify", "demo.myshopify.com")
WOO = Shop("woocommerce", "store.example")

GOOD = """
[shopify."Demo.myshopify.com."]
access_token = "shpat_1"

[woocommerce."store.example"]
consumer_key = "ck_1 "
consumer_secret = "cs_1\\n"
"""


class CredentialsFile:
    """A file with a later modification time after each write, however fast the test is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._time = 1_700_000_000

    def write(self, text: str | bytes, mode: int = 0o600) -> None:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.path.chmod(mode)
        self._time += 1
        os.utime(self.path, (self._time, self._time))


@pytest.fixture
def file(tmp_path: Path) -> CredentialsFile:
    made = CredentialsFile(tmp_path / "credentials.toml")
    made.write(GOOD)
    return made


async def test_each_shop_has_its_own_credentials_without_pasted_whitespace(file: CredentialsFile) -> None:
    provider = FileCredentials(file.path)
    assert await provider.credentials(SHOPIFY) == {"access_token": Secret("shpat_1")}
    assert await provider.credentials(WOO) == {
        "consumer_key": Secret("ck_1"),
        "consumer_secret": Secret("cs_1"),
    }


async def test_a_shop_that_is_not_in_the_file_has_no_credentials(file: CredentialsFile) -> None:
    provider = FileCredentials(file.path)
    for shop in (Shop("shopify", "store.example"), Shop("magento", "demo.myshopify.com")):
        with pytest.raises(CredentialsNotFound):
            await provider.credentials(shop)


async def test_a_changed_file_is_used_at_once(file: CredentialsFile) -> None:
    provider = FileCredentials(file.path)
    await provider.credentials(WOO)
    file.write(GOOD.replace("shpat_1", "shpat_2").replace("woocommerce", "other"))
    assert await provider.credentials(SHOPIFY) == {"access_token": Secret("shpat_2")}
    with pytest.raises(CredentialsNotFound):
        await provider.credentials(WOO)


@pytest.mark.parametrize(
    "broken",
    [
        "[shopify",
        'shopify = "hunter2"',
        '[shopify]\n"demo.myshopify.com" = "hunter2"',
        '[shopify."demo.myshopify.com"]',
        '[shopify."demo.myshopify.com"]\naccess_token = 5',
        '[shopify."demo.myshopify.com"]\naccess_token = "  "',
        b"\xff\xfe",
    ],
)
async def test_a_broken_file_leaves_the_last_valid_content_in_use(
    file: CredentialsFile, broken: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    provider = FileCredentials(file.path)
    file.write(broken)
    for _ in range(2):
        assert await provider.credentials(SHOPIFY) == {"access_token": Secret("shpat_1")}
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "credentials.toml" in record.getMessage()
    assert "hunter2" not in record.getMessage()
    file.write(GOOD.replace("shpat_1", "shpat_3"))
    assert await provider.credentials(SHOPIFY) == {"access_token": Secret("shpat_3")}


async def test_a_missing_file_leaves_the_last_valid_content_in_use(
    file: CredentialsFile, caplog: pytest.LogCaptureFixture
) -> None:
    provider = FileCredentials(file.path)
    file.path.unlink()
    assert await provider.credentials(SHOPIFY) == {"access_token": Secret("shpat_1")}
    assert "No such file" in caplog.text


def test_the_first_load_must_succeed(file: CredentialsFile, tmp_path: Path) -> None:
    file.write("[")
    with pytest.raises(CredentialsFileInvalid, match=r"credentials\.toml"):
        FileCredentials(file.path)
    with pytest.raises(CredentialsFileInvalid, match="No such file"):
        FileCredentials(tmp_path / "missing.toml")


def test_a_refresh_token_is_rejected_because_a_file_cannot_store_its_successor(file: CredentialsFile) -> None:
    keys = 'client_id = "id"\nclient_secret = "hunter2"\nrefresh_token = "shprt_1"\n'
    file.write(f'[shopify."demo.myshopify.com"]\n{keys}')
    with pytest.raises(
        CredentialsFileInvalid, match=r"demo\.myshopify\.com.*refresh_token.*Token Service"
    ) as caught:
        FileCredentials(file.path)
    assert not [secret for secret in ("hunter2", "shprt_1") if secret in str(caught.value)]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_world_readable_file_is_warned_about(
    file: CredentialsFile, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(GOOD, mode)
    FileCredentials(file.path)
    assert ("can be read by every user" in caplog.text) is warned


def test_a_secret_is_never_shown_in_text() -> None:
    keys = {"access_token": Secret("shpat_1")}
    assert "shpat_1" not in f"{keys} {keys!r} {keys['access_token']}"


async def test_webhook_secrets_are_one_or_two_per_shop(file: CredentialsFile) -> None:
    file.write(GOOD + 'webhook_secrets = ["new ", "old"]\n')
    found = await FileCredentials(file.path).credentials(WOO)
    assert webhook_secrets(found) == (Secret("new"), Secret("old"))
    assert webhook_secrets(await FileCredentials(file.path).credentials(SHOPIFY)) == ()


@pytest.mark.parametrize(
    "value",
    ['"hunter2"', "[]", '["hunter2", 5]', '["hunter2", " "]', '["hunter2", "hunter2", "3"]', '["hunter2\\n1"]'],
)
def test_unusable_webhook_secrets_are_reported_by_name_and_not_quoted(file: CredentialsFile, value: str) -> None:
    file.write(GOOD + f"webhook_secrets = {value}\n")
    with pytest.raises(CredentialsFileInvalid, match=r"store\.example.*webhook_secrets") as caught:
        FileCredentials(file.path)
    assert "hunter2" not in str(caught.value)
