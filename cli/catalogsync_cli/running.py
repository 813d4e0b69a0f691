"""Runs what a command asks for, and turns however it ended into an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import click
from catalogsync_common.correlation import correlated

from catalogsync_cli.exits import Exit, exit_of_failure
from catalogsync_cli.failed import CallFailed, error_document, error_line
from catalogsync_cli.options import Options
from catalogsync_cli.output import say


def run(work: Coroutine[Any, Any, Exit], options: Options) -> Exit:
    """The exit code of `work`; a call that failed is told on standard error."""
    try:
        with correlated():
            code = asyncio.run(work)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What is still buffered has nowhere to go; the interpreter would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except CallFailed as error:
        failure = error.failure
        if options.json:
            say(json.dumps(error_document(failure, hint=options.catalog_hint), ensure_ascii=False))
        else:
            say(error_line(failure, hint=options.catalog_hint))
        return exit_of_failure(failure)


def finish(command: click.Command, arguments: list[str]) -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    try:
        outcome = command.main(arguments, prog_name="catalogsync", standalone_mode=False)
    except click.ClickException as error:
        _tell_usage(error, as_json="--json" in arguments)
        outcome = Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        outcome = Exit.INTERRUPTED
    except Exception as error:
        say(f"Error: internal error: {type(error).__name__} [INTERNAL]; please report it")
        outcome = Exit.INTERNAL
    sys.exit(int(outcome or 0))


def _tell_usage(error: click.ClickException, *, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    document = {"code": "INVALID_ARGUMENT", "reason": "USAGE", "message": error.format_message()}
    say(json.dumps({"error": {**document, "metadata": {}, "exitCode": int(Exit.USAGE)}}, ensure_ascii=False))
