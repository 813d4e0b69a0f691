"""`catalogsync import-credentials`: what is read, what is written, and that no secret is ever printed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse
from catalogsync_client import ShopName

from connector_svc.credentials.file import FileCredentials
from connector_svc.domain.shop import Shop
from tests.fakes.catalog_service import FailureWithReason
from tests.fakes.checking_connector import CheckingConnector
from tests.unit.cli.conftest import CommandLine, Result

SHOPIFY = ShopName("shopify", "demo.myshopify.com")
WOO = ShopName("woocommerce", "store.example")
TOKEN, KEY, SECRET = "shpat_0123456789", "ck_0123456789", 'cs_"quoted"\\0123'
EXPECTED = {
    SHOPIFY: {"access_token": TOKEN},
    WOO: {"consumer_key": KEY, "consumer_secret": SECRET},
}
CSV = (
    "Platform,Domain,Access Token,consumer_key,consumer_secret,Owner\n"
    f"shopify,https://Demo.myshopify.com/admin,{TOKEN},,,Alice\n"
    f'woocommerce,store.example,,{KEY},"{SECRET.replace(chr(34), chr(34) * 2)}",Bob\n'
)
JSON = json.dumps(
    {
        "shopify": {"demo.myshopify.com": {"access_token": TOKEN}},
        "woocommerce": {"store.example": {"consumer_key": KEY, "consumer_secret": SECRET}},
    }
)
JSON_LIST = json.dumps(
    [
        {"platform": "shopify", "shop_domain": "demo.myshopify.com", "credentials": {"access_token": TOKEN}},
        {
            "platform": "woocommerce",
            "url": "https://store.example",
            "consumer_key": KEY,
            "consumer_secret": SECRET,
        },
    ]
)
ENV = (
    "# exported\n"
    f"export SHOPIFY_1_DOMAIN=demo.myshopify.com\nexport SHOPIFY_1_ACCESS_TOKEN='{TOKEN}'\n"
    f"SHOP2_PLATFORM=woocommerce\nSHOP2_DOMAIN=store.example\nSHOP2_CONSUMER_KEY={KEY}\n"
    f"SHOP2_CONSUMER_SECRET={SECRET}\n"
)


def text_of(file: Path) -> str:
    return file.read_text()


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def write(file: Path, text: str) -> None:
    """Write a file that others can read."""
    file.write_text(text)
    file.chmod(0o644)


def check_silent(result: Result) -> Result:
    """Assert that the output contains no secret, and return the result."""
    for secret in (TOKEN, KEY, SECRET):
        assert secret not in result.out + result.err
    return result


async def stored(file: Path, shop: ShopName) -> dict[str, Any]:
    """Return what connector_svc reads."""
    credentials = await FileCredentials(file).credentials(Shop(shop.platform, shop.domain))
    return {name: secret.reveal() for name, secret in credentials.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials.toml"


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", CSV), ("a.json", JSON), ("b.json", JSON_LIST), (".env", ENV)]
)
async def test_connector_svc_reads_what_was_imported(
    run: CommandLine, tmp_path: Path, file: Path, name: str, text: str
) -> None:
    export = tmp_path / name
    export.write_text(text)
    result = check_silent(await run("import-credentials", str(export), "--credentials-file", str(file), "--json"))
    assert result.code == 0, result.err
    assert {each["shop"]: each["result"] for each in result.documents} == {
        str(SHOPIFY): "added",
        str(WOO): "added",
    }
    assert mode_of(file) == 0o600
    assert {shop: await stored(file, shop) for shop in EXPECTED} == EXPECTED
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []


async def test_standard_input_is_read_and_other_columns_are_named(run: CommandLine, file: Path) -> None:
    result = await run.answer(CSV, "import-credentials", "-", "--format", "csv", "--credentials-file", str(file))
    assert check_silent(result).code == 0
    assert "no credentials: owner" in result.err
    assert "Alice" not in result.err


async def test_what_the_file_has_stays_comments_as_well(run: CommandLine, tmp_path: Path, file: Path) -> None:
    before = '# Ours\n[woocommerce."other.example"] # by Bob\nconsumer_key = "ck"\nconsumer_secret = "cs"\n'
    write(file, before)
    export = tmp_path / "a.csv"
    export.write_text(CSV)
    assert (await run("import-credentials", str(export), "--credentials-file", str(file))).code == 0
    assert text_of(file).startswith(before)
    assert mode_of(file) == 0o600
    assert await stored(file, SHOPIFY) == EXPECTED[SHOPIFY]
    again = await run("import-credentials", str(export), "--credentials-file", str(file), "--json")
    assert {each["result"] for each in again.documents} == {"unchanged"}
    assert len(FileCredentials(file)._table) == 3


async def test_other_credentials_of_a_shop_are_replaced_only_on_request(
    run: CommandLine, tmp_path: Path, file: Path
) -> None:
    before = (
        '[shopify."demo.myshopify.com"]\naccess_token = "old"\nwebhook_secrets = ["old"]\n\n'
        '# Stays\n[shopify."x.myshopify.com"]\naccess_token = "x"\n'
    )
    write(file, before)
    export = tmp_path / "a.csv"
    export.write_text(CSV)
    arguments = ("import-credentials", str(export), "--credentials-file", str(file))
    refused = check_silent(await run(*arguments, "--json"))
    assert refused.code == 5
    assert {each["shop"]: each["result"] for each in refused.documents}[str(SHOPIFY)] == "different"
    assert text_of(file) == before
    assert check_silent(await run(*arguments, "--replace")).code == 0
    assert await stored(file, SHOPIFY) == EXPECTED[SHOPIFY]
    assert await stored(file, ShopName("shopify", "x.myshopify.com")) == {"access_token": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"platform,domain,access_token\nshopify,{TOKEN},demo.myshopify.com\n",
            "row 2: the domain is missing",
        ),
        (f"platform,domain,access_token\nshopify,store.example,{TOKEN}\n", "must end with .myshopify.com"),
        (f"platform,domain,access_token\netsy,store.example,{TOKEN}\n", "the platform is missing or unknown"),
        (
            f"platform,domain,consumer_key\nwoocommerce,store.example,{KEY}\n",
            "needs consumer_key with",
        ),
        (
            f"platform,domain,access_token\nshopify,demo.myshopify.com,{TOKEN}\x07\n",
            "access_token has a line",
        ),
        (f"platform,domain,access_token\nshopify,demo.myshopify.com,{TOKEN},{KEY}\n", "row 2: it has more cells"),
        (
            f"platform,domain,access_token\nshopify,demo.myshopify.com,{TOKEN}\nshopify,demo.myshopify.com,{TOKEN}\n",
            "shopify:demo.myshopify.com: there are two records of it",
        ),
        ("platform,domain,access_token\n", "the export has no records"),
        (
            'platform,domain,access_token\nshopify,demo.myshopify.com,"shpat_1\nabc"\n',
            "access_token has a line break",
        ),
    ],
)
async def test_a_wrong_record_is_named_and_nothing_is_written(
    run: CommandLine, tmp_path: Path, file: Path, text: str, problem: str
) -> None:
    export = tmp_path / "a.csv"
    export.write_text(f"{text}shopify,fine.myshopify.com,{TOKEN}\n" if "two records" in problem else text)
    result = check_silent(await run("import-credentials", str(export), "--credentials-file", str(file)))
    assert result.code == 2
    assert problem in result.err
    assert file.name not in os.listdir(tmp_path)


async def test_other_columns_may_have_line_breaks(run: CommandLine, tmp_path: Path, file: Path) -> None:
    export = tmp_path / "a.csv"
    export.write_text(
        f'platform,domain,notes,access_token\nshopify,demo.myshopify.com,"first\nsecond\u2028third",{TOKEN}\n'
    )
    assert check_silent(await run("import-credentials", str(export), "--credentials-file", str(file))).code == 0
    assert await stored(file, SHOPIFY) == EXPECTED[SHOPIFY]


async def test_columns_can_be_renamed(run: CommandLine, tmp_path: Path, file: Path) -> None:
    export = tmp_path / "a.csv"
    export.write_text(f"platform,domain,API Password\nshopify,demo.myshopify.com,{TOKEN}\n")
    arguments = ("--credentials-file", str(file), "--rename", "API Password=access_token")
    assert check_silent(await run("import-credentials", str(export), *arguments)).code == 0
    assert await stored(file, SHOPIFY) == EXPECTED[SHOPIFY]


async def test_a_dry_run_writes_nothing(run: CommandLine, tmp_path: Path, file: Path) -> None:
    export = tmp_path / "a.csv"
    export.write_text(CSV)
    result = await run("import-credentials", str(export), "--credentials-file", str(file), "--dry-run")
    assert (result.code, file.name in os.listdir(tmp_path)) == (0, False)
    assert "Would write" in result.err


async def test_each_shop_is_checked_on_request(
    run: CommandLine, tmp_path: Path, file: Path, connector: CheckingConnector
) -> None:
    connector.shops[str(SHOPIFY)] = CheckShopResponse()
    connector.shops[str(WOO)] = FailureWithReason("SOURCE_UNAUTHORIZED", "the shop rejects the key")
    export = tmp_path / "a.csv"
    export.write_text(CSV)
    result = check_silent(
        await run("import-credentials", str(export), "--credentials-file", str(file), "--check", "--json")
    )
    assert result.code == 1
    assert [each["result"] for each in result.documents] == [
        "accepted",
        "the shop rejects the key [SOURCE_UNAUTHORIZED]",
    ]


async def test_a_file_that_cannot_be_merged_stays(run: CommandLine, tmp_path: Path, file: Path) -> None:
    before = '[shopify]\n"demo.myshopify.com" = { access_token = "old" }\n'
    write(file, before)
    export = tmp_path / "a.csv"
    export.write_text(CSV)
    result = check_silent(
        await run("import-credentials", str(export), "--credentials-file", str(file), "--replace")
    )
    assert result.code == 2
    assert "by hand" in result.err or "line" in result.err
    assert text_of(file) == before
