"""The commands `context list|show|set|use|delete`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from catalogsync_cli.command import command_options, current_options
from catalogsync_cli.contexts import (
    SETTINGS,
    ContextInvalid,
    Contexts,
    check_name,
    config_file,
    load_contexts,
    save_contexts,
)
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.output import make_console, print_fields, print_notice, print_table

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def context() -> None:
    """Manage contexts, which name installations.

    A context is a name for addresses and files of credentials. The current context applies to each command;
    --context NAME or CATALOGSYNC_CONTEXT chooses another one. Options and other environment variables override it.
    """


@context.command(name="list")
@command_options
def list_() -> ExitCode:
    """List the contexts."""
    contexts, options = _load(), current_options()
    if options.json:
        for name, settings in sorted(contexts.by_name.items()):
            print(json.dumps({"name": name, "current": name == contexts.current, **settings}, ensure_ascii=False))
        return ExitCode.OK
    if not contexts.by_name:
        print_notice("No contexts; create one: catalogsync context set NAME --catalog HOST:PORT")
        return ExitCode.OK
    rows = [_row(name, contexts) for name in sorted(contexts.by_name)]
    print_table(make_console(options.output), ("NAME", "CURRENT", "CATALOG", "CONNECTOR", "TOKEN FILE"), rows)
    return ExitCode.OK


def _row(name: str, contexts: Contexts) -> tuple[str, ...]:
    settings = contexts.by_name[name]
    cells = (str(settings.get(key, "-")) for key in ("catalog", "connector", "token_file"))
    return (name, "yes" if name == contexts.current else "", *cells)


@context.command()
@click.argument("name", required=False)
@command_options
def show(name: str | None) -> ExitCode:
    """Show context NAME, or the current one."""
    contexts = _load()
    found = name or contexts.current
    if not found:
        raise click.UsageError("there is no current context; name one")
    settings = _get(contexts, found)
    if current_options().json:
        print(json.dumps({"name": found, "current": found == contexts.current, **settings}, ensure_ascii=False))
    else:
        print_fields(make_console(), [("Name", found), *((key, str(settings.get(key, ""))) for key in SETTINGS)])
    return ExitCode.OK


def _setting_options(command: F) -> F:
    for key in reversed(SETTINGS):
        name = f"--{key.replace('_', '-')}"
        if key == "tls":
            command = click.option(name, is_flag=True, default=None, help="Use TLS.")(command)
        elif key.endswith("_file"):
            command = click.option(name, key, metavar="FILE", help='A file; "" removes it.')(command)
        else:
            command = click.option(name, key, metavar="HOST:PORT", help='An address; "" removes it.')(command)
    return command


@context.command(name="set")
@click.argument("name")
@_setting_options
def set_(name: str, **given: str | bool | None) -> ExitCode:
    """Create context NAME or change it; the first context becomes the current one."""
    contexts = _load()
    try:
        check_name(name)
    except ContextInvalid as error:
        raise click.UsageError(str(error)) from None
    settings = dict(contexts.by_name.get(name, {}))
    for key, value in given.items():
        if value == "":
            settings.pop(key, None)
        elif value is not None:
            settings[key] = str(Path(str(value)).absolute()) if key.endswith("_file") else value
    by_name = {**contexts.by_name, name: settings}
    _save(replace(contexts, by_name=by_name, current=contexts.current or name))
    return ExitCode.OK


@context.command()
@click.argument("name")
def use(name: str) -> ExitCode:
    """Make NAME the current context."""
    contexts = _load()
    _get(contexts, name)
    _save(replace(contexts, current=name))
    return ExitCode.OK


@context.command()
@click.argument("name")
def delete(name: str) -> ExitCode:
    """Delete context NAME."""
    contexts = _load()
    _get(contexts, name)
    rest = {key: value for key, value in contexts.by_name.items() if key != name}
    _save(Contexts(current="" if contexts.current == name else contexts.current, by_name=rest))
    return ExitCode.OK


def _load() -> Contexts:
    try:
        return load_contexts(config_file())
    except ContextInvalid as error:
        raise click.UsageError(str(error)) from None


def _get(contexts: Contexts, name: str) -> dict[str, str | bool]:
    try:
        return dict(contexts.get(name))
    except ContextInvalid as error:
        raise click.UsageError(str(error)) from None


def _save(contexts: Contexts) -> None:
    try:
        save_contexts(config_file(), contexts)
    except OSError as error:
        raise click.ClickException(f"{config_file()} cannot be written: {error.strerror}") from None
