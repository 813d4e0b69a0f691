"""`make test-compatibility` finds the last release, and a migration that the release cannot run on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.compatibility import EXPANSION, ROOT, migrated_server, newest_release, run_smoke_tests

# One smoke test that writes, deletes and reads products.
SWEEP = "tests/integration/catalog_svc/test_sweep.py"


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [(EXPANSION, 0), (("ALTER TABLE item DROP COLUMN barcode",), 1)],
    ids=["a column, an index and a table are added", "a column is dropped"],
)
async def test_a_release_passes_on_a_schema_with_additions_and_fails_on_one_without_its_columns(
    changes: tuple[str, ...], exit_code: int
) -> None:
    async with migrated_server(changes) as url:
        assert await run_smoke_tests(ROOT, url, SWEEP) == exit_code


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "tag.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def commit(repository: Path, tag: str = "") -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message", "change")
    if tag:
        git(repository, "tag", tag)


def test_without_a_release_tag_there_is_no_release(repository: Path) -> None:
    git(repository, "tag", "latest")
    commit(repository)
    assert newest_release(repository) is None


def test_the_last_release_is_the_highest_version_not_the_highest_text(repository: Path) -> None:
    for tag in ("v1.9.0", "v1.10.0-rc1", "v1.10.0", "v1.2.0"):
        commit(repository, tag)
    commit(repository)
    assert newest_release(repository) == "v1.10.0"


def test_a_release_of_another_branch_does_not_count(repository: Path) -> None:
    commit(repository, "v1.0.0")
    git(repository, "switch", "--quiet", "--create", "other")
    commit(repository, "v2.0.0")
    git(repository, "switch", "--quiet", "main")
    commit(repository)
    assert newest_release(repository) == "v1.0.0"


def test_a_release_is_compared_with_the_one_before_it(repository: Path) -> None:
    commit(repository, "v1.0.0")
    commit(repository, "v1.1.0")
    assert newest_release(repository) == "v1.0.0"
