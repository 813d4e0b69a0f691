"""The command `completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from catalogsync_cli.exit_codes import ExitCode

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> ExitCode:
    """Print the completion script of SHELL.

    \b
    Examples:
      source <(catalogsync completion bash)
      catalogsync completion zsh > "${fpath[1]}/_catalogsync"
      catalogsync completion fish > ~/.config/fish/completions/catalogsync.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "catalogsync", "_CATALOGSYNC_COMPLETE").source())
    return ExitCode.OK
