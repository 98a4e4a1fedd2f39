"""`setsync completion`: what a shell must know to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from setsync.cli.common import json_option, print_json, unused_data_option


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@unused_data_option
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      eval "$(setsync completion bash)"                                 in ~/.bashrc
      eval "$(setsync completion zsh)"                                  in ~/.zshrc
      setsync completion fish > ~/.config/fish/completions/setsync.fish
    """
    from setsync.cli.main import COMPLETE_VARIABLE, PROGRAM, cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    script = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
