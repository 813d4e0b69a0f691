"""The start of a command: what it imports, its help, and shell completion."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys

import pytest
from catalogsync_cli.main import catalogsync
from click import Context

from tests.unit.cli.conftest import CommandLine

_VERBS = frozenset(
    {"Check", "Export", "Import", "List", "Mint", "Manage", "Print", "Register,", "Show", "Start,", "Verify"}
)


def imported_by(*arguments: str) -> set[str]:
    """Return the modules that a command line has imported when it ends."""
    code = (
        "import sys\n"
        "from catalogsync_cli.main import catalogsync\n"
        f"catalogsync.main({list(arguments)!r}, standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


def test_a_command_imports_neither_other_commands_nor_cryptography() -> None:
    modules = imported_by("sync", "list", "--help")
    commands = {name for name in modules if name.startswith("catalogsync_cli.commands.")}
    assert commands == {"catalogsync_cli.commands.syncs"}
    assert not modules & {"cryptography", "jwt"}


def test_every_command_can_be_imported_and_begins_its_help_with_an_imperative() -> None:
    context = Context(catalogsync)
    for name in catalogsync.list_commands(context):
        command = catalogsync.get_command(context, name)
        assert command is not None
        first = command.get_short_help_str(200).split()[0]
        assert first in _VERBS, name


async def test_an_unknown_command_is_a_usage_error(run: CommandLine) -> None:
    result = await run("sycn", "list")
    assert result.code == 2
    assert "sycn" in result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script_of_the_shell(run: CommandLine, shell: str) -> None:
    result = await run("completion", shell)
    assert result.code == 0, result.err
    assert "_CATALOGSYNC_COMPLETE" in result.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
async def test_bash_completes_commands_with_the_printed_script(run: CommandLine) -> None:
    script = (await run("completion", "bash")).out
    words = "COMP_WORDS=(catalogsync sync st) COMP_CWORD=2; _catalogsync_completion catalogsync"
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f'{script}\n{words}; echo "${{COMPREPLY[@]}}"',
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.decode().split() == ["start"]
