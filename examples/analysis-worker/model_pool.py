"""Runs a model in processes, one for each core."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from catalogsync_client import TaskFailed
from image_quality import Assessment, ImageModel

_models: list[ImageModel] = []
"""The model of this process, if it is one of a pool."""


class ModelPool:
    """Assesses images in processes; an async context manager.

    Not in threads: a decoder may hold the interpreter's lock for most of a second, in which no lease is extended,
    and a damaged image may crash it.
    """

    def __init__(self, make_model: Callable[[], ImageModel], *, processes: int | None = None) -> None:
        """Create a pool.

        Args:
            make_model: called once in each process: a class, or a function of a module.
            processes: how many; None: as many as there are cores.
        """
        self._make_model = make_model
        self._processes = processes or os.cpu_count() or 1
        self._pool = self._open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def assess(self, content: bytes) -> Assessment:
        """Return what the model finds in an image.

        Raises:
            TaskFailed: what the model raises, or PROCESS_DIED: this image or another one crashed its process.
        """
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _assess, content)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._open()
            raise TaskFailed("PROCESS_DIED", "the process died that assessed the image, or another one") from None

    def _open(self) -> ProcessPoolExecutor:
        # gRPC does not survive a fork.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._processes, mp_context=context, initializer=_start_process, initargs=(self._make_model,)
        )


def _start_process(make_model: Callable[[], ImageModel]) -> None:
    # Ctrl-C is sent to all processes of a terminal; the parent ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _models.append(make_model())


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _assess(content: bytes) -> Assessment:
    (model,) = _models
    return model.assess(content)
