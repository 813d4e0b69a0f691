"""`python -m demo [--once]`: the entry point of `make demo`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options
from catalogsync_cli.errors import error_line
from catalogsync_cli.output import make_console
from catalogsync_client import CatalogSyncError
from rich.console import Console

from demo.analysis import analyze_images, start_worker
from demo.keys import DemoKeys, write_private
from demo.processes import ProcessExited, ProcessGroup
from demo.stack import NotReady, start_stack
from demo.syncs import show_catalogs, show_completeness, show_next_commands, sync_all
from demo.workspace import Workspace, WorkspaceInUse, locked_workspace, stop_leftover_postgres

EXIT_OK = 0
EXIT_FAILED = 1


class SignalHandler:
    """Cancels the demo's task on the first SIGINT or SIGTERM, which stops everything; kills all on the next."""

    def __init__(self, processes: ProcessGroup) -> None:
        self._processes = processes
        self._task = asyncio.current_task()
        self.exit_code: int | None = None
        """128 + signal number once a signal was received."""

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if self.exit_code is not None:
            self._processes.kill_all()
        self.exit_code = self.exit_code or 128 + number
        if self._task is not None:
            self._task.cancel()


class Demo:
    """One run of the demo."""

    def __init__(self, workspace: Workspace, *, once: bool, console: Console) -> None:
        self._workspace = workspace
        self._once = once
        self._console = console
        self._exit_code = EXIT_FAILED
        self._finished = False

    async def run(self) -> int:
        """Run the demo and return its exit code. All processes have ended when this returns or raises."""
        workspace = self._workspace
        processes = ProcessGroup(directory=workspace.root, logs=workspace.logs, inherited_fds=(workspace.lock,))
        signals = SignalHandler(processes)
        signals.install()
        try:
            async with processes:
                await self._show(processes)
        except asyncio.CancelledError:
            if signals.exit_code is None:
                raise
            # Ctrl-C is the way to end a demo whose syncs have been shown.
            return self._exit_code if self._finished else signals.exit_code
        finally:
            if "catalog_svc" in processes.started:
                stop_leftover_postgres(workspace.postgres)
            self._console.print("Stopped.")
        return self._exit_code

    async def _show(self, processes: ProcessGroup) -> None:
        keys = DemoKeys.load_or_create(self._workspace.keys)
        stack = await start_stack(processes, self._workspace, keys, self._console.print)
        self._console.print(
            f"\nOpen {stack.page} in a browser to watch the syncs.\n", style="bold", highlight=False
        )
        token = keys.mint()
        # From now on, for commands in other terminals; `keep_token` renews it.
        write_private(self._workspace.token, token)
        options = Options(catalog=stack.catalog, connector=stack.connector, token=token)
        async with open_catalog(options) as catalog:
            results = await processes.supervise(sync_all(catalog, stack.shops, self._console))
            await processes.supervise(show_catalogs(catalog, results, self._console))
            complete = show_completeness(results, self._console)
            await start_worker(processes, self._workspace, keys, stack)
            await processes.supervise(analyze_images(catalog, stack.shops, self._console))
        self._exit_code = EXIT_OK if complete else EXIT_FAILED
        self._finished = True
        if not self._once:
            show_next_commands(stack, results, self._workspace, keys, self._console)
            self._console.print("The demo runs until you press Ctrl-C.")
            await processes.supervise(keys.keep_token(self._workspace.token))


def main() -> int:
    """Return the exit code.

    Returns:
        0: all catalogs are complete; 1: some are not, or something failed; 128 + signal: interrupted before that.
    """
    parser = argparse.ArgumentParser(prog="python -m demo", description="Run the whole system on this machine.")
    parser.add_argument("--once", action="store_true", help="end after the syncs")
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="working directory [default: .demo]")
    args = parser.parse_args()
    # gRPC would send even connections to this machine through a configured proxy, and its core would write into
    # the progress bars.
    os.environ.update(no_grpc_proxy="127.0.0.1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        with locked_workspace(args.directory) as workspace:
            return asyncio.run(Demo(workspace, once=args.once, console=make_console()).run())
    except (ProcessExited, NotReady, WorkspaceInUse) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
    except CatalogSyncError as error:
        print(f"\nThe demo failed. {error_line(error.failure)}", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
