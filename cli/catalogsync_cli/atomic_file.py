"""Replaces a file atomically: a reader sees the old content or the complete new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced_file(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Yield a new file beside `path`, and rename it to `path` if nothing failed.

    Until then only this user can read it. A symbolic link stays, and the file that it names is replaced.

    Args:
        path: The file to replace or to create.
        mode: The permissions of the new file; None: those that the user's umask allows.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    target = path.resolve()
    # mkstemp gives the mode 0600.
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            _keep_owner(target, descriptor)
            os.fchmod(descriptor, 0o666 & ~_umask() if mode is None else mode)
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep_owner(target: Path, descriptor: int) -> None:
    """Give the new file to the owner of the old one, as far as this user may: a service must still read it."""
    with suppress(FileNotFoundError, PermissionError):
        old = target.stat()
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
