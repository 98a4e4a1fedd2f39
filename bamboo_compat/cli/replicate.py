"""`setsync bamboo replicate`: one connection to a server that compares log heights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from bamboo_compat.cli.wording import REFUSED, short
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.replication.index_source import IndexSource
from bamboo_compat.replication.report import Report, Tally
from bamboo_compat.replication.run import replicate
from bamboo_compat.replication.source import Divergence
from bamboo_compat.replication.table import Role
from setsync.cli import common
from setsync.cli.loop import run_stoppable
from setsync.cli.progress import showing, size
from setsync.errors import SetsyncError
from setsync.node.address import split_address
from setsync.node.local import Offload, T, in_thread, now
from setsync.node.node import connect
from setsync.node.policy import PolicyFile
from setsync.node.progress import OnProgress, Progress
from setsync.store.contract import EntryStore

# Places where logs part that are printed one by one.
SHOWN = 20


@click.command("replicate")
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    required=True,
    help="Whose meaning of log ids and schemas.",
)
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    metavar="ID",
    help="Only logs of this schema, also where none is here yet; by default all that are here, "
    "and the system's. Repeatable.",
)
@common.data_option
@common.json_option
@common.progress_option
def replicate_command(
    address: str,
    profile: str,
    schemas: tuple[str, ...],
    data: Path,
    as_json: bool,
    progress: str,
) -> int:
    """Replicate logs with a Bamboo server at HOST:PORT, by their heights, both ways.

    System logs go first. A height is a number, so of a forked log only one branch travels:
    between two setsync nodes 'setsync sync' carries both. Unencrypted, loopback addresses
    only. What arrived before a failure is kept. Exit codes: 0 done, 7 something was refused,
    3 the other side broke the protocol, 4 it is not there.

    \b
    Examples:
      setsync bamboo replicate 127.0.0.1:2020 --profile aquadoggo
      setsync bamboo replicate 127.0.0.1:2020 --profile rfc0001 --schema venue_0020c6f2
    """
    host, port = split_address(address)
    tally = Tally()
    with common.opened(data) as (directory, store), showing(progress) as on_progress:
        most = common.settings(data).max_payload
        source = _source(store, profile, schemas, directory.policy, most)

        async def main() -> Report:
            on_progress(Progress("connecting", 0, None, "entries"))
            stream = await connect(host, port)
            return await replicate(
                stream,
                source,
                role=Role.INITIATOR,
                now=now() // 1000,
                offload=_telling(on_progress, tally),
                tally=tally,
            )

        try:
            report = run_stoppable(main)
        except SetsyncError:
            _say_what_is_kept(tally)
            raise
    if report is None:
        _say_what_is_kept(tally)
        raise KeyboardInterrupt
    if as_json:
        common.print_json(_as_json(profile, report))
    else:
        _print(report)
    return REFUSED if report.refusals else 0


def _source(
    store: EntryStore, profile: str, schemas: tuple[str, ...], rules: PolicyFile, max_payload: int
) -> IndexSource:
    policy = rules.read()
    return IndexSource(
        store,
        PROFILES[profile],
        max_payload=max_payload,
        origin=common.from_here(),
        only=schemas,
        speaks_of=lambda name: not policy.blocks(name),
        policy=rules.read,
    )


def _telling(on_progress: OnProgress, tally: Tally) -> Offload:
    """Whatever is done on the disk is a step of the work; then it is told how far we are."""

    async def offload(work: Callable[..., T], *arguments: object) -> T:
        done: T = await in_thread(work, *arguments)
        on_progress(
            Progress(
                "replicating",
                tally.sent + tally.new + tally.known + tally.refused.total(),
                None,
                "entries",
                bytes_sent=tally.counters.bytes_out,
                bytes_received=tally.counters.bytes_in,
            )
        )
        return done

    return offload


# --- for programs -------------------------------------------------------------------------


def _as_json(profile: str, report: Report) -> dict[str, object]:
    """See docs/json/bamboo-replicate.json."""
    return {
        "state": "done",
        "profile": profile,
        "schemas": {"system": list(report.schemas.system), "user": list(report.schemas.user)},
        "sessions": report.sessions,
        "sent": report.sent,
        "new": report.new,
        "known": report.known,
        "payloads": report.payloads,
        "refused": report.refusals,
        "refusals": [{"reason": reason, "count": count} for reason, count in report.refused],
        "diverged": report.diverged,
        "divergences": [
            {
                "author": place.log.author.hex(),
                "log_id": place.log.log_id,
                "seq_num": place.seq_num,
            }
            for place in report.divergences
        ],
        "bytes": {"sent": report.bytes_out, "received": report.bytes_in},
        "messages": {"sent": report.messages_out, "received": report.messages_in},
    }


# --- for people ---------------------------------------------------------------------------


def came_of(report: Report) -> str:
    """What became of entries: `3 sent, 5 new, 1 known`."""
    parts = [f"{report.sent:,} sent", f"{report.new:,} new", f"{report.known:,} known"]
    if report.payloads:
        parts.append(f"{report.payloads:,} of these got the payload they lacked")
    if report.refusals:
        parts.append(f"{report.refusals:,} refused")
    return ", ".join(parts)


def place_of(divergence: Divergence) -> str:
    """`log 1024 of ca93ac1705187071, entry 5`"""
    author, log_id = divergence.log
    return f"log {log_id} of {short(author)}, entry {divergence.seq_num}"


def _print(report: Report) -> None:
    system, user = (len(schemas) for schemas in report.schemas)
    common.print_columns(
        [
            ("schemas of both", f"{system:,} of the system, {user:,} of users"),
            ("entries", came_of(report)),
            ("bytes", f"{size(report.bytes_out)} sent, {size(report.bytes_in)} received"),
            ("messages", f"{report.messages_out:,} sent, {report.messages_in:,} received"),
        ]
    )
    for reason, count in report.refused:
        click.echo(f"{count:,} refused: {reason}")
    for divergence in report.divergences[:SHOWN]:
        click.echo(f"{place_of(divergence)}: the other side's log is not ours from here or before.")
    _print_advice(report)


def _print_advice(report: Report) -> None:
    more = len(report.divergences) - SHOWN
    if more > 0:
        click.echo(f"... and {more:,} more; --json tells of them.")
    if report.divergences:
        click.echo(
            "Such a log is forked. Heights do not carry both branches; 'setsync sync' does, and\n"
            "'setsync fork list' tells of what is here."
        )
    if not any(report.schemas):
        click.echo("No schema is known to both; --schema names one that is not here yet.")


def _say_what_is_kept(tally: Tally) -> None:
    report = tally.report()
    if report.messages_in > 1:
        common.say(f"Until then: {came_of(report)}.")
