"""`python -m demo [--once]`: what `make demo` runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from catalogsync_cli.client import open_catalog
from catalogsync_cli.failed import CallFailed, error_line
from catalogsync_cli.options import Options
from catalogsync_cli.output import make_console
from rich.console import Console

from demo.processes import ChildDied, Family
from demo.stack import NotReady, start_stack
from demo.syncs import show_catalogs, show_verdict, show_ways, sync_all
from demo.workspace import Place, PlaceTaken, stop_leftover_postgres, taken_place

EXIT_OK = 0
EXIT_FAILED = 1


class Interruption:
    """The first SIGINT or SIGTERM cancels the demo's task, which then stops everything; the next one kills."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._task = asyncio.current_task()
        self.code: int | None = None
        """What an interrupted program ends with; None: nobody interrupted."""

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if self.code is not None:
            self._family.kill()
        self.code = self.code or 128 + number
        if self._task is not None:
            self._task.cancel()


class Demo:
    """One run of the demo."""

    def __init__(self, place: Place, *, once: bool, console: Console) -> None:
        self._place = place
        self._once = once
        self._console = console
        self._code = EXIT_FAILED
        self._told = False

    async def run(self) -> int:
        """The exit code. Everything that was started has ended when this returns or raises."""
        family = Family(directory=self._place.root, logs=self._place.logs, keep_open=(self._place.lock,))
        interruption = Interruption(family)
        interruption.listen()
        try:
            async with family:
                await self._show(family)
        except asyncio.CancelledError:
            if interruption.code is None:
                raise
            # Ctrl-C is the way to end a demo that has shown all it has.
            return self._code if self._told else interruption.code
        finally:
            if "catalog_svc" in family.started:
                stop_leftover_postgres(self._place.postgres)
            self._console.print("Stopped.")
        return self._code

    async def _show(self, family: Family) -> None:
        stack = await start_stack(family, self._place, self._console.print)
        options = Options(catalog=stack.catalog, connector=stack.connector)
        async with open_catalog(options) as catalog:
            outcomes = await family.during(sync_all(catalog, stack.shops, self._console))
            await family.during(show_catalogs(catalog, outcomes, self._console))
        complete = show_verdict(outcomes, self._console)
        self._code = EXIT_OK if complete else EXIT_FAILED
        self._told = True
        if not self._once:
            show_ways(stack, outcomes, self._place, self._console)
            self._console.print("It stays up until you press Ctrl-C.")
            await family.during(_forever())


async def _forever() -> None:
    await asyncio.Event().wait()


def main() -> int:
    """0: both catalogs are complete; 1: they are not, or something broke; 128 + signal: interrupted before."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Runs the whole system on this machine.")
    parser.add_argument("--once", action="store_true", help="end after the syncs")
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="where it lives [default: .demo]")
    asked = parser.parse_args()
    # gRPC would ask a configured proxy even for this machine, and its core would write into the bars.
    os.environ.update(no_grpc_proxy="127.0.0.1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        with taken_place(asked.directory) as place:
            return asyncio.run(Demo(place, once=asked.once, console=make_console()).run())
    except (ChildDied, NotReady, PlaceTaken) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
    except CallFailed as error:
        print(f"\nThe demo failed. {error_line(error.failure)}", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
