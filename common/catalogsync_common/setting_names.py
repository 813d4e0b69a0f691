"""Finds misspelt settings: environment variables that have a program's prefix and are none of its settings.

This module needs the standard library only, since the command line uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from difflib import get_close_matches
from typing import Final

_MIN_SIMILARITY: Final = 0.75
"""Similarity of two names, from 0 to 1, above which one counts as a misspelling of the other."""


def unknown_names(
    found: Iterable[str], known: Set[str], *, prefix: str, program: str = "this service"
) -> tuple[str, ...]:
    """Return a sentence for each variable that has the prefix but is not a setting, with what may be meant.

    Such a variable has no effect: it is misspelt, belongs to a newer release, or was set by the platform that runs
    the program.

    Args:
        found: Names of variables in upper case, with any prefix.
        known: Names of settings in upper case.
        prefix: Of the program's settings.
        program: Its name in the sentences.
    """
    unknown = {name for name in found if name.startswith(prefix)} - known
    return tuple(_sentence(name, known, prefix, program) for name in sorted(unknown))


def _sentence(name: str, known: Set[str], prefix: str, program: str) -> str:
    names = [each.removeprefix(prefix) for each in known if each.startswith(prefix)]
    similar = get_close_matches(name.removeprefix(prefix), names, n=1, cutoff=_MIN_SIMILARITY)
    suggestion = f"; did you mean {prefix}{similar[0]}?" if similar else ""
    return f"{name} is not a setting of {program} and has no effect{suggestion}"
