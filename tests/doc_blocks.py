"""The commands of documentation pages, which tests run as they stand there."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/operations"
"""The pages for operators. Each of their blocks that is marked as `sh` or `sql` is run by a test."""


def blocks(page: Path, language: str = "sh") -> list[str]:
    """Return the fenced blocks of a page that are marked with `language`, also those within lists."""
    pattern = rf"^( *)```{language}\n(.*?)^\1```$"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def run_script(script: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Run a script with bash, which ends with the first command that fails; return what it prints.

    Standard error is part of it.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    return done.stdout
