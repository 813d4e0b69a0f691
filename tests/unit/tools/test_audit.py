"""The audit passes only if each pinned package was looked up, which pip-audit alone does not demand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.audit import judge, pinned_packages

PINNED = {"aiohttp": "3.14.5", "yarl": "1.25.1"}
CLEAN: list[dict[str, Any]] = [
    {"name": "aiohttp", "version": "3.14.5", "vulns": []},
    {"name": "yarl", "version": "1.25.1", "vulns": []},
]
VULNERABILITY = {"id": "CVE-2026-1", "fix_versions": ["3.14.6"]}


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_report_that_names_every_package_without_a_finding_passes() -> None:
    outcome = judge(PINNED, report(*CLEAN), "")
    assert (outcome.audited, outcome.problems) == (2, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "could not be asked"),
        ("No known vulnerabilities found", "could not be asked"),
        ("{}", "could not be asked"),
        ("[]", "could not be asked"),
        (report(), "yarl==1.25.1: not in the report"),
        (report(CLEAN[0]), "yarl==1.25.1: not in the report"),
        (report(CLEAN[0], {**CLEAN[1], "version": "1.0"}), "yarl==1.25.1: not in the report"),
        (report(CLEAN[0], {"name": "yarl", "skip_reason": "not found on PyPI"}), "yarl: not audited: not found"),
        (report({**CLEAN[0], "vulns": [VULNERABILITY]}, CLEAN[1]), "CVE-2026-1, fixed in 3.14.6"),
    ],
)
def test_everything_else_fails(text: str, problem: str) -> None:
    assert problem in " ".join(judge(PINNED, text, "no network").problems)


def test_nothing_pinned_does_not_pass() -> None:
    assert judge({}, report(), "").problems


def test_pinned_packages_are_those_of_this_platform() -> None:
    exported = """aiohttp==3.14.5 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:01
Typing_Extensions==4.16.0 ; python_full_version >= '3.11' \\
    --hash=sha256:02
"""
    assert pinned_packages(exported) == {"aiohttp": "3.14.5", "typing-extensions": "4.16.0"}
