"""Checks of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text()


def test_every_phony_target_has_a_rule() -> None:
    """For one without a rule make prints "Nothing to be done" and succeeds."""
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    with_rule = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert set(phony.split()) - with_rule == set()
