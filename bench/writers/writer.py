"""What a way to write is to a benchmark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from bench.writers.catalog import Batch
from bench.writers.database import Database

Store: TypeAlias = Callable[[], Awaitable[None]]
"""Writes one batch, committed when it returns. This is what is timed, each once and in order."""

Prepare: TypeAlias = Callable[[Batch], Store]
"""Brings a batch into the form that the writer takes."""

Writer: TypeAlias = Callable[[Database], AbstractAsyncContextManager[Prepare]]
"""Connects; when it is left, no connection stays."""
