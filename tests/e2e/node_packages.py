"""Installs and runs the Node packages of the repository, in a copy that all workers of a test run share."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, clean_environment


def _has_node() -> bool:
    """Return whether npm and Node 20 or newer are installed."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return False
    result = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    major = result.stdout.removeprefix("v").partition(".")[0]
    return result.returncode == 0 and int(major) >= 20


needs_node = pytest.mark.skipif(not _has_node(), reason="needs Node 20 or newer with npm")
_CLIENT = Path("clients/typescript")
_NPM_CI = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
_NOT_COPIED = shutil.ignore_patterns("node_modules", "dist", "build")


async def run_program(
    *command: str | Path, cwd: Path, settings: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program to its end; return its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**clean_environment(), **(settings or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        code = await process.wait()
    return code, out.decode()


async def run_checked(*command: str | Path, cwd: Path, settings: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and return its output."""
    code, out = await run_program(*command, cwd=cwd, settings=settings)
    assert code == 0, out
    return out


async def run_until_shop_answers(
    *command: str | Path, cwd: Path, settings: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program that syncs a shop, again if the shop did not answer in time, as on a busy machine."""
    for _ in range(10):
        code, out = await run_program(*command, cwd=cwd, settings=settings)
        if "SOURCE_UNREACHABLE" not in out:
            break
    return code, out


async def install_typescript_client(shared: Path) -> Path:
    """Copy, install, build and type-check clients/typescript once; return the copy.

    Args:
        shared: A directory of this test run, the same for all workers.
    """
    directory = shared / "node" / _CLIENT
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / "lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not (directory / "build").exists():
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(ROOT / _CLIENT, directory, ignore=_NOT_COPIED)
            await run_checked(*_NPM_CI, cwd=directory)
            await run_checked("npm", "run", "build", cwd=directory)
            # Also compiles the tests. The last step, since it makes the directory that says that all is done.
            await run_checked("npx", "tsc", cwd=directory)
    return directory


async def install_example(client: Path, name: str) -> Path:
    """Copy and install an example beside the installed client; return the copy."""
    root = client.parents[1]
    directory = root / "examples" / name
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / name, directory, ignore=_NOT_COPIED)
    if not (root / "protos").exists():
        (root / "protos").symlink_to(ROOT / "protos")
    await run_checked(*_NPM_CI, cwd=directory)
    return directory


def shared_directory(factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all workers of this test run have."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
