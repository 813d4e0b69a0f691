"""Writes the scripts of workflows to files, for shellcheck: `python -m tests.deploy.workflow_scripts DIRECTORY`.

actionlint would do it, but its package downloads a program when it is installed, which uv.lock cannot pin by hash.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

WORKFLOWS: Final = Path(__file__).parents[2] / ".github" / "workflows"
_EXPRESSION: Final = re.compile(r"\$\{\{.*?\}\}")


def scripts(workflow: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Yield each script with a name, as GitHub runs it: with bash, which stops at the first error."""
    for job, description in workflow["jobs"].items():
        for number, step in enumerate(description.get("steps", ())):
            if script := step.get("run"):
                text = _EXPRESSION.sub("expression", script)
                yield f"{name}-{job}-{number}.sh", f"#!/bin/bash\nset -eo pipefail\n{text}\n"


def main(directory: Path) -> None:
    """Write all scripts."""
    for file in sorted(WORKFLOWS.glob("*.yml")):
        for name, text in scripts(yaml.safe_load(file.read_text()), file.stem):
            (directory / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
