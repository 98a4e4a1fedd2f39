"""`setsync watch`: what comes into this directory, as it comes, whoever brings it.

It looks into the store now and then, like any other process: nothing has to serve meanwhile,
and nothing that serves is asked.
"""

from __future__ import annotations

import contextlib
import json
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from setsync.cli.common import (
    check_since,
    data_option,
    moment,
    opened,
    payload_note,
    printable,
)
from setsync.limits import NOTICE_SECONDS
from setsync.model.collection import EVERYTHING, Pattern
from setsync.model.formats import format_of
from setsync.node.arrivals import Arrival, arrival_json, last_arrival, read_arrivals


@click.command()
@click.argument("pattern", metavar="[COLLECTION-PATTERN]", default=EVERYTHING)
@click.option(
    "--since",
    type=click.IntRange(0),
    metavar="ARRIVAL",
    help="Begin after this arrival number; 0 shows all that is here. By default only what is new.",
)
@click.option("--payload", is_flag=True, help="Show payloads too.")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(pattern: str, since: int | None, payload: bool, data: Path, as_json: bool) -> None:
    """Show entries as they arrive in this directory, whoever brings them, until Ctrl-C.

    A line holds the entry's id, its claimed time, its author (shortened), its size, its
    collection, and who brought it: a node's key (shortened), 'here' for this machine, or '-'
    where that is not known.

    \b
    Examples:
      setsync watch
      setsync watch 'notes/**' --payload
      setsync watch --since 0 --json | jq -r .id
    """
    wanted = Pattern(pattern)
    # To be told to stop is its usual end, and no failure.
    with opened(data) as (_, store), contextlib.suppress(KeyboardInterrupt):
        last = last_arrival(store)
        after = last if since is None else since
        check_since(after, last)
        while True:
            found = read_arrivals(store, after)
            for arrival in found:
                if wanted.matches(arrival.entry.collection):
                    _show(arrival, payload=payload, as_json=as_json)
            if found:
                after = found[-1].entry.arrival
            else:
                _check_for_readers()
                time.sleep(NOTICE_SECONDS)


def _check_for_readers() -> None:
    """Raises BrokenPipeError when nobody reads our output any more.

    Else `setsync watch | head -1` would go on until a second entry comes, perhaps for ever.
    """
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        gone = any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no file, or no poll on this platform
        return
    if gone:
        raise BrokenPipeError


def _show(arrival: Arrival, *, payload: bool, as_json: bool) -> None:
    if as_json:
        lines: Sequence[str] = [json.dumps(arrival_json(arrival, with_payload=payload))]
    else:
        lines = [_line(arrival), *(_payload_lines(arrival.entry.payload) if payload else ())]
    # One write, flushed: whoever reads along gets whole entries, and gets them now.
    click.echo("\n".join(lines))


def _line(arrival: Arrival) -> str:
    """Id, when, who and how large as in `ls COLLECTION`; then where to, and by whom."""
    entry, origin = arrival.entry, arrival.origin
    claims = format_of(entry.header).decode(entry.header)
    size = f"{claims.payload_size} B" + payload_note(entry)
    bringer = "-" if origin is None else origin.peer.hex()[:16] or "here"
    who, collection = claims.author.hex()[:16], printable(entry.collection)
    when = moment(claims.timestamp)
    return f"{entry.id.hex()}  {when}  {who}  {size}  {collection}  {bringer}"


def _payload_lines(payload: bytes | None) -> Sequence[str]:
    """Text, indented; what is none looks odd and does no harm."""
    text = (payload or b"").decode("utf-8", errors="replace")
    return [f"    {printable(line)}" for line in text.splitlines()]
