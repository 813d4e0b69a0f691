"""Check the bills of materials of `make sbom`: valid CycloneDX 1.5, and a hash for each file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def violations(text: str) -> Iterator[str]:
    """Yield what is wrong with an SBOM."""
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if error is not None:
        yield f"is not valid CycloneDX 1.5: {error}"
        return
    components: list[dict[str, Any]] = json.loads(text).get("components", [])
    packages = [one for one in components if "purl" in one]
    if not packages:
        yield "names no package"
    for package in packages:
        files = package.get("externalReferences", [])
        if not files or not all(file.get("hashes") for file in files):
            yield f"{package['name']} has a file without a hash"


def main(files: list[Path]) -> int:
    """Check each file, and print what is wrong. Return the exit code."""
    failed = False
    for file in files:
        text = file.read_text()
        found = list(violations(text))
        failed = failed or bool(found)
        for violation in found:
            print(f"{file}: {violation}", file=sys.stderr)
        if not found:
            print(f"{file}: {len(json.loads(text)['components'])} components, valid")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
