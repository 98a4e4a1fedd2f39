"""A worker for the tests of the worker protocol."""

from __future__ import annotations

import os
import time

from benchmarks.workers import Fields, run_worker


async def echo(fields: Fields) -> Fields:
    return fields


async def fail(fields: Fields) -> Fields:
    raise ValueError("on purpose")


async def leave(fields: Fields) -> Fields:
    os._exit(3)


async def hang(fields: Fields) -> Fields:
    time.sleep(1)  # noqa: ASYNC251 (a worker that hangs is the point)
    return {}


if __name__ == "__main__":
    run_worker({"echo": echo, "fail": fail, "exit": leave, "hang": hang})
