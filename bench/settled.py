"""A machine that starts each run alike."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

_MEMORY: Final = 1 << 30
"""Bytes; more than one run takes."""


def settle() -> None:
    """Blocks for a second or so.

    What earlier runs have left to be written would slow this one's commits. And a virtual machine gets its memory
    from its host page by page, and gives back what is free: a run that is the first to touch some pays for it,
    which one after a larger one does not.
    """
    os.sync()
    bytearray(b"1") * _MEMORY


def forget(place: Path) -> None:
    """Drops the files of a run, and so the memory that holds them."""
    shutil.rmtree(place, ignore_errors=True)
