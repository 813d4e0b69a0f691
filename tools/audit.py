"""Look for known vulnerabilities in what the services are built from: `make audit`.

pip-audit says "No known vulnerabilities found", with exit code 0, about packages that it could not ask about. So
its report must name each package that the lock pins, or the audit fails.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker
from packaging.utils import canonicalize_name

_PINNED: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+))?")
_OPTIONS: Final = (
    "--strict",
    "--disable-pip",
    "--require-hashes",
    "--progress-spinner",
    "off",
    "--format",
    "json",
)
_NOT_ASKED: Final = (
    "the vulnerability service could not be asked, so that nothing is known about the packages. Run `make audit` "
    "where https://pypi.org/pypi/<package>/json can be reached. pip-audit says:"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the audit found."""

    audited: int
    problems: tuple[str, ...]


def pinned_packages(requirements: str) -> dict[str, str]:
    """Return name and version of what `uv export` pinned and this platform installs."""
    matches = filter(None, map(_PINNED.match, requirements.splitlines()))
    return {
        canonicalize_name(match["name"]): match["version"]
        for match in matches
        if match["marker"] is None or Marker(match["marker"].strip()).evaluate()
    }


def judge(pinned: dict[str, str], report: str, errors: str) -> Outcome:
    """Return the outcome of a run of pip-audit; nothing that is missing in its report passes.

    Args:
        pinned: What had to be audited: version by name.
        report: Its standard output.
        errors: Its standard error.
    """
    dependencies = _dependencies(report)
    if dependencies is None:
        return Outcome(audited=0, problems=(f"{_NOT_ASKED} {errors.strip() or 'nothing'}",))
    audited: dict[str, str] = {
        canonicalize_name(one["name"]): str(one["version"]) for one in dependencies if "vulns" in one
    }
    skipped = (f"{one['name']}: not audited: {one['skip_reason']}" for one in dependencies if "skip_reason" in one)
    missing = (
        f"{name}=={version}: not in the report" for name, version in pinned.items() if audited.get(name) != version
    )
    problems = (*_vulnerabilities(dependencies), *skipped, *missing)
    if not pinned:
        problems = (*problems, "nothing is pinned")
    return Outcome(audited=len(audited), problems=problems)


def _dependencies(report: str) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return found


def _vulnerabilities(dependencies: Iterable[dict[str, Any]]) -> Iterable[str]:
    for one in dependencies:
        for vulnerability in one.get("vulns", ()):
            fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no release yet"
            yield f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}"


def main(requirements: Path) -> int:
    """Audit the requirements that `uv export` wrote. Return 0 only if each was audited and has no finding."""
    pinned = pinned_packages(requirements.read_text())
    command = [sys.executable, "-m", "pip_audit", *_OPTIONS, "--requirement", str(requirements)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    outcome = judge(pinned, run.stdout, run.stderr)
    for problem in outcome.problems:
        print(f"audit: {problem}", file=sys.stderr)
    print(f"audit: {outcome.audited} of {len(pinned)} pinned packages audited, {len(outcome.problems)} problems")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
