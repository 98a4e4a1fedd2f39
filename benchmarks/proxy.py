"""The counting proxy by itself, for looking at any two programs that talk over TCP.

python -m benchmarks.proxy 127.0.0.1 7000 --rtt 100ms --rate 10mbit
"""

from __future__ import annotations

import argparse

import trio
from trio import TaskStatus

from setsync.bench.counts import Counts, Ledger
from setsync.bench.forward import Address, serve
from setsync.bench.link import Link, parse_duration, parse_rate


def describe(counts: Counts) -> str:
    """One line for a human."""
    return (
        f"up {counts.up:,} B, down {counts.down:,} B, {counts.turns:,} turns, "
        f"{counts.connections:,} connections"
    )


async def _report(target: Address, link: Link, every: float) -> None:
    ledger = Ledger()
    async with trio.open_nursery() as nursery:

        async def start(task_status: TaskStatus[Address]) -> None:
            await serve(target, ledger, link=link, task_status=task_status)

        host, port = await nursery.start(start)
        print(f"listening on {host}:{port} for {target[0]}:{target[1]}", flush=True)
        shown = Counts()
        while True:
            await trio.sleep(every)
            if ledger.counts != shown:
                shown = ledger.counts
                print(describe(shown), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the proxy until interrupted and print its counters when they change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rtt", type=parse_duration, default=0.0, metavar="100ms")
    parser.add_argument("--rate", type=parse_rate, default=None, metavar="10mbit")
    parser.add_argument("--every", type=parse_duration, default=1.0, metavar="1s")
    options = parser.parse_args(argv)
    try:
        link = Link(options.rtt, options.rate)
        trio.run(_report, (options.host, options.port), link, options.every)
    except* KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
