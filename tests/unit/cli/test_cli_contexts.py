"""Contexts: which address a command uses, and what the configuration file may contain."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop
from catalogsync_cli.contexts import ContextInvalid, Contexts, load_contexts, save_contexts

from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.unit.cli.conftest import CommandLine

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "catalogsync/config.toml"


async def test_the_first_context_is_current_and_another_one_can_be_used(run: CommandLine, config: Path) -> None:
    for name, address in (("staging", "a:1"), ("production", "b:2")):
        result = await run("context", "set", name, "--catalog", address, CATALOGSYNC_CONFIG=str(config))
        assert result.code == 0, result.err
    assert load_contexts(config).current == "staging"
    await run("context", "use", "production", CATALOGSYNC_CONFIG=str(config))
    listed = await run("context", "list", "--json", CATALOGSYNC_CONFIG=str(config))
    assert listed.documents == [
        {"name": "production", "current": True, "catalog": "b:2"},
        {"name": "staging", "current": False, "catalog": "a:1"},
    ]


async def test_a_command_uses_the_current_context_unless_told_otherwise(
    run: CommandLine, server: CatalogServer, catalog: FakeCatalog, shop: Shop, config: Path
) -> None:
    catalog.register(shop)
    by_name = {"here": {"catalog": server.address}, "nowhere": {"catalog": NOWHERE}}
    save_contexts(config, Contexts(current="nowhere", by_name=by_name))
    # Without an address in the environment, which overrides the context.
    outside = {"CATALOGSYNC_CONFIG": str(config), "CATALOGSYNC_CATALOG": ""}
    status = ("status", "shopify:demo.myshopify.com", "--timeout", "5")
    assert (await run(*status, **outside)).code == 4
    assert (await run("--context", "here", *status, **outside)).code == 0
    assert (await run(*status, "--context", "here", **outside)).code == 0
    assert (await run(*status, CATALOGSYNC_CONTEXT="here", **outside)).code == 0
    assert (await run(*status, "--catalog", server.address, **outside)).code == 0
    assert (await run(*status, **{**outside, "CATALOGSYNC_CATALOG": server.address})).code == 0


async def test_the_token_file_of_a_context_is_sent(
    run: CommandLine, catalog: FakeCatalog, server: CatalogServer, shop: Shop, config: Path, tmp_path: Path
) -> None:
    catalog.register(shop)
    token_file = tmp_path / "token"
    token_file.write_text("of-the-context\n")
    by_name = {"here": {"catalog": server.address, "token_file": str(token_file)}}
    save_contexts(config, Contexts(current="here", by_name=by_name))
    await run("status", "shopify:demo.myshopify.com", CATALOGSYNC_CONFIG=str(config), CATALOGSYNC_TOKEN="")
    assert catalog.requests[-1][2]["authorization"] == "Bearer of-the-context"


async def test_an_unknown_context_is_a_usage_error_that_names_the_known_ones(
    run: CommandLine, config: Path
) -> None:
    save_contexts(config, Contexts(by_name={"staging": {"catalog": "a:1"}}))
    result = await run("--context", "stagin", "sync", "list", CATALOGSYNC_CONFIG=str(config))
    assert result.code == 2
    assert "there are: staging" in result.err


@pytest.mark.parametrize(
    "text",
    [
        "current = 1",
        "contexts = []",
        "[contexts.a]\ncatalog = 1",
        '[contexts.a]\ntoken = "secret"',
        '[contexts.a]\ntls = "yes"',
        "[contexts",
    ],
)
def test_a_file_that_is_not_of_this_form_is_refused_and_named(config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(ContextInvalid, match=r"config\.toml") as caught:
        load_contexts(config)
    assert "secret" not in str(caught.value)


def test_what_is_saved_is_loaded(config: Path) -> None:
    contexts = Contexts(
        current="a.b", by_name={"a.b": {"catalog": 'x"\\\n', "tls": True}, "c": {"key_file": "/k ey"}}
    )
    save_contexts(config, contexts)
    assert load_contexts(config) == contexts


async def test_a_context_that_is_deleted_is_not_current_any_more(run: CommandLine, config: Path) -> None:
    save_contexts(config, Contexts(current="a", by_name={"a": {}, "b": {}}))
    assert (await run("context", "delete", "a", CATALOGSYNC_CONFIG=str(config))).code == 0
    assert load_contexts(config) == Contexts(by_name={"b": {}})
