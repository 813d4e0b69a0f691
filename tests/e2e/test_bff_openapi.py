"""Requests that are generated from the OpenAPI document, valid ones and others, against the real services."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.bff_client import API
from tests.e2e.bff_system import bff_system
from tests.e2e.conftest import clean_environment
from tests.e2e.test_bff import sync_to_end

SCHEMATHESIS = Path(sys.executable).with_name("st")
EXAMPLES_PER_OPERATION = 8


@pytest.mark.long
async def test_every_response_is_one_that_the_document_describes(tmp_path: Path) -> None:
    """No request causes a server error, and what the document forbids is refused.

    Event streams do not end, and are tested elsewhere. That each valid request is accepted is not checked: no
    schema says which page tokens and keys exist.
    """
    async with bff_system(products=5) as system, system.browser() as browser:
        await sync_to_end(browser)
        process = await asyncio.create_subprocess_exec(
            SCHEMATHESIS, "run", f"{system.url}{API}/openapi.json",
            "--header", f"Cookie: {browser.cookie}", "--header", "X-Requested-With: catalogsync",
            "--phases", "coverage,fuzzing", "--exclude-checks", "positive_data_acceptance",
            "--exclude-path-regex", "/events$", "--max-examples", str(EXAMPLES_PER_OPERATION),
            "--request-timeout", "60", "--suppress-health-check", "all", "--no-shrink", "--no-color",
            cwd=tmp_path, env=clean_environment(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "18 selected / 20 total" in output.decode()
