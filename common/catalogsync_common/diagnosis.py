"""The findings of `catalogsync doctor` and of the `doctor` commands of the services.

This module needs the standard library only, since the command line uses it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from catalogsync_common.token_claims import MAX_CLOCK_SKEW

EXIT_FAILED: Final = 1
"""The exit code if a check failed."""
EXIT_INTERRUPTED: Final = 130
CERTIFICATE_WARNING_PERIOD: Final = timedelta(days=14)
"""Before a certificate expires; certificates that are renewed automatically are renewed earlier."""
_CLOCK_WARNING: Final = timedelta(seconds=5)
_LABEL_WIDTH: Final = 7


class Outcome(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    """Nothing is wrong."""
    WARNING = "warning"
    """It works now, but needs attention."""
    FAILED = "failed"
    """Something does not work; the message says what to do."""
    SKIPPED = "skipped"
    """Not checked; the message says why, and where it can be checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check has found."""

    origin: str
    """The program whose settings were checked, and from whose machine: "catalogsync", "catalog_svc"."""
    check: str
    """The name of the check: "database schema"."""
    outcome: Outcome
    message: str
    """One sentence; if something is wrong, it names the cause and what to do. It holds no secret."""

    @classmethod
    def from_json(cls, line: str) -> Finding:
        """Read a line that `to_json` returned.

        Raises:
            ValueError: it is none.
        """
        try:
            document = json.loads(line)
            return cls(**{**document, "outcome": Outcome(document["outcome"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a finding: {error}") from None

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def to_text(self) -> str:
        """Return one line for people."""
        message = " ".join(self.message.split())
        return f"{self.outcome:<{_LABEL_WIDTH}}  {self.origin}, {self.check}: {message}"


@dataclass(frozen=True, slots=True)
class Findings:
    """Makes the findings of one program."""

    origin: str

    def ok(self, check: str, message: str) -> Finding:
        """Return that nothing is wrong."""
        return self._finding(check, Outcome.OK, message)

    def warning(self, check: str, message: str) -> Finding:
        """Return that it needs attention."""
        return self._finding(check, Outcome.WARNING, message)

    def failed(self, check: str, message: str) -> Finding:
        """Return that it does not work."""
        return self._finding(check, Outcome.FAILED, message)

    def skipped(self, check: str, message: str) -> Finding:
        """Return that it was not checked."""
        return self._finding(check, Outcome.SKIPPED, message)

    def clock(self, check: str, other: str, ahead: timedelta, *, uncertainty: timedelta) -> Finding:
        """Return whether the clocks of this machine and of another one agree.

        Args:
            check: The name of the check.
            other: Whose clock was read.
            ahead: How far the clock of this machine is ahead of it; negative: behind.
            uncertainty: How long the answer may have taken on its way.
        """
        difference = max(abs(ahead) - uncertainty, timedelta())
        seconds, direction = abs(ahead).total_seconds(), "ahead of" if ahead > timedelta() else "behind"
        if difference <= _CLOCK_WARNING:
            return self.ok(check, f"the clock of this machine agrees with that of {other}")
        message = (
            f"the clock of this machine is {seconds:,.0f} s {direction} that of {other}: synchronize both with "
            "NTP, since tokens and certificates are valid by the clock"
        )
        return (self.failed if difference > MAX_CLOCK_SKEW else self.warning)(check, message)

    def _finding(self, check: str, outcome: Outcome, message: str) -> Finding:
        return Finding(origin=self.origin, check=check, outcome=outcome, message=message)


def misspelt(findings: Findings, check: str, sentence: str) -> Finding:
    """Return the finding about an unknown setting, from its sentence of `setting_names.unknown_names`."""
    advice = " Correct or remove it." if sentence.endswith("?") else ": correct or remove it"
    return findings.warning(check, f"{sentence}{advice}")


def run_doctor(findings: AsyncIterator[Finding], *, as_json: bool) -> int:
    """Run the `doctor` command of a service, and return its exit code: 1 if a check failed.

    Each finding is printed as soon as it is there, one per line. Nothing is logged: what the checks try may fail.
    """
    logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(_print(findings, as_json=as_json))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


async def _print(findings: AsyncIterator[Finding], *, as_json: bool) -> int:
    failed = False
    async for finding in findings:
        failed = failed or finding.outcome is Outcome.FAILED
        print(finding.to_json() if as_json else finding.to_text(), flush=True)
    return EXIT_FAILED if failed else 0
