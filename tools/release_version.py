"""Check that a tag is the version of every package: `python -m tools.release_version v1.2.3`."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions(root: Path) -> dict[str, str]:
    """Return the version of each package that is published, by the file that states it."""
    workspace = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    projects = ["pyproject.toml", *(f"{member}/pyproject.toml" for member in workspace)]
    found = {name: tomllib.loads((root / name).read_text())["project"]["version"] for name in projects}
    package = "clients/typescript/package.json"
    return {**found, package: json.loads((root / package).read_text())["version"]}


def main(tag: str) -> int:
    """Print each package with another version than that of the tag. Return the exit code."""
    wrong = {name: version for name, version in versions(ROOT).items() if f"v{version}" != tag}
    for name, version in wrong.items():
        print(f"{name} has the version {version}, the tag is {tag}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
