"""`setsync`, the command: finds the module of a subcommand and lets it run.

Nothing but the module of the command that was asked for is loaded, so that `setsync status`
does not wait for the network's machinery. Other packages add commands through the entry
point group `setsync.commands`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from setsync import __version__
from setsync.cli.common import USAGE, report, wants_json
from setsync.cli.stopping import stop_in_order

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GUESTS = "setsync.commands"
PROGRAM = "setsync"
COMPLETE_VARIABLE = "_SETSYNC_COMPLETE"


class Lazy(NamedTuple):
    """A command that is loaded when it is used: where it is, and its line in the help."""

    target: str
    summary: str

    def load(self) -> click.Command:
        """Import the command's module."""
        module, _, name = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


# The main job first, then what surrounds it.
COMMANDS = {
    "sync": Lazy("setsync.cli.sync:sync", "Make this node's set and another's equal."),
    "diff": Lazy("setsync.cli.sync:diff", "List what each side lacks, and move nothing."),
    "serve": Lazy("setsync.cli.serve:serve", "Let other nodes sync with this one."),
    "demo": Lazy("setsync.cli.demo:demo", "Watch two nodes become equal on real text."),
    "bench": Lazy("setsync.cli.bench:bench", "Measure what a session costs."),
    "init": Lazy("setsync.cli.init:init", "Make a data directory and its keys."),
    "put": Lazy("setsync.cli.put:put", "Add entries from a file or standard input."),
    "get": Lazy("setsync.cli.get:get", "Print an entry's payload, or its header."),
    "payload": Lazy("setsync.cli.payload:payload", "Drop payloads, or want them again."),
    "ls": Lazy("setsync.cli.ls:ls", "List collections, or the entries of one."),
    "watch": Lazy("setsync.cli.watch:watch", "Show entries as they arrive."),
    "status": Lazy("setsync.cli.status:status", "Show the node, its sets and its disk."),
    "export": Lazy("setsync.cli.exchange:export", "Write entries into a file."),
    "import": Lazy("setsync.cli.exchange:import_", "Take entries from a file."),
    "backup": Lazy("setsync.cli.backup:backup", "Copy the data directory while in use."),
    "gc": Lazy("setsync.cli.gc:gc", "Drop payloads that are old, large or too many."),
    "compact": Lazy("setsync.cli.compact:compact", "Give free pages back to the disk."),
    "check": Lazy("setsync.cli.check:check", "Recompute everything and compare."),
    "doctor": Lazy("setsync.cli.doctor:doctor", "Look for what is wrong with this node."),
    "config": Lazy("setsync.cli.config:config", "Show what is set, and where."),
    "peers": Lazy("setsync.cli.peers:peers", "Say who may talk to this node."),
    "policy": Lazy("setsync.cli.policy:policy", "Say what this node takes and shows."),
    "network": Lazy("setsync.cli.network:network", "Keep strangers out with a shared key."),
    "web": Lazy("setsync.cli.web:web", "Open the page that serve --web serves."),
    "key": Lazy("setsync.cli.key:key", "Make, show and carry author keys."),
    "completion": Lazy("setsync.cli.completion:completion", "Print a shell's completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands are loaded one by one; their help lines need none of them."""

    def __init__(self, *args: object, lazy: Mapping[str, Lazy], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours in the order of the table, then the guests'."""
        return [*self._lazy, *sorted(_guests().keys() - self._lazy.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None when nobody has it."""
        if cmd_name in self._lazy:
            return self._lazy[cmd_name].load()
        guest = _guests().get(cmd_name)
        command: click.Command | None = guest.load() if guest is not None else None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without loading them."""
        rows = [(name, self._summary(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Names for the shell, without loading the commands."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=self._summary(ctx, name))
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def _summary(self, ctx: click.Context, name: str) -> str:
        if name in self._lazy:
            return self._lazy[name].summary
        try:
            command = self.get_command(ctx, name)
        except Exception as error:  # a guest that cannot be loaded must not take our help away
            return f"(cannot be loaded: {error})"
        return command.get_short_help_str(60) if command is not None else ""


def _guests() -> dict[str, EntryPoint]:
    # Loaded here: it is slow, and a command of ours needs no guest.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GUESTS)}


cli = LazyGroup(
    name=PROGRAM,
    lazy=COMMANDS,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    params=[],
    help="""Make two sets of signed entries equal, at the cost of their difference.

    \b
    Two nodes on one machine:
      setsync init --data a
      setsync init --data b
      echo hello | setsync put --data a notes
      setsync serve --data a --listen 127.0.0.1:7000 --plain &
      setsync sync --data b 127.0.0.1:7000 --plain
    """,
    epilog="'setsync COMMAND -h' tells more of each, with an example.",
)
cli = click.version_option(__version__, prog_name=PROGRAM)(cli)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, the process's own if none is given; the process's exit code.

    Prints, and raises nothing.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        if arguments[:1] != ["serve"]:  # which has other uses for these signals
            stop_in_order()
    arguments = list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return report(error, as_json=wants_json(arguments))
    return code


def _run(arguments: list[str]) -> int:
    """As click's own `main`, which would keep KeyboardInterrupt and broken pipes to itself."""
    if COMPLETE_VARIABLE in os.environ:
        return _complete(os.environ[COMPLETE_VARIABLE])
    if not arguments:
        with click.Context(cli, info_name=PROGRAM, **cli.context_settings) as context:
            click.echo(cli.get_help(context), err=True)
        return USAGE
    try:
        with cli.make_context(PROGRAM, arguments.copy()) as context:
            return cli.invoke(context) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as bare:
        click.echo(bare.format_message(), err=True)
        return USAGE


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, PROGRAM, COMPLETE_VARIABLE, instruction)


if __name__ == "__main__":
    sys.exit(main())
