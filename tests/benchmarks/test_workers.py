"""The line protocol between a driver and its workers."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from benchmarks.workers import Fields, Worker, WorkerError, answer

ECHO = "tests.benchmarks.echo_worker"


async def double(fields: Fields) -> Fields:
    return {"twice": 2 * fields["value"]}


def replies_to(text: str) -> list[Fields]:
    out = io.StringIO()
    asyncio.run(answer({"double": double}, io.StringIO(text), out))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_line_gets_one_reply() -> None:
    assert replies_to('{"do":"double","value":4}\n{"do":"double","value":5}\n') == [
        {"ok": {"twice": 8}},
        {"ok": {"twice": 10}},
    ]


def test_a_failing_handler_is_reported_and_the_next_one_still_answered() -> None:
    failed, worked = replies_to('{"do":"double"}\n{"do":"double","value":1}\n')
    assert "KeyError" in failed["error"]
    assert worked == {"ok": {"twice": 2}}


def test_a_worker_answers_fails_and_ends() -> None:
    with Worker(ECHO) as worker:
        assert worker.ask("echo", value=[1, 2]) == {"value": [1, 2]}
        with pytest.raises(WorkerError, match="on purpose"):
            worker.ask("fail")
        assert worker.ask("echo", value="x" * 200_000)["value"] == "x" * 200_000
        with pytest.raises(WorkerError, match="ended"):
            worker.ask("exit")
    with pytest.raises(WorkerError, match=r"ended|closed"):
        worker.ask("echo")


def test_a_worker_that_says_nothing_is_given_up() -> None:
    with (
        Worker(ECHO) as worker,
        pytest.raises(WorkerError, match="within"),
    ):
        worker.ask("hang", within=0.01)
