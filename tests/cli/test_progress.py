"""Progress goes on or stands still; it never runs backwards, whatever the events say."""

from __future__ import annotations

import io
import json
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.cli.progress import Forward, Screen, Step, Throttled, plain_line, showing, size
from setsync.node.progress import Progress
from tests.cli.running import Shell, validate

NUMBERS = st.integers(0, 50)
EVENTS = st.builds(
    Progress,
    phase=st.sampled_from(["connecting", "comparing", "transferring", "done"]),
    done=NUMBERS,
    total=st.none() | NUMBERS,
    unit=st.just("entries"),
    collection=st.none() | st.just("notes"),
    bytes_sent=NUMBERS,
    bytes_received=NUMBERS,
)


@given(st.lists(EVENTS, max_size=40))
def test_nothing_runs_backwards(events: list[Progress]) -> None:
    forward = Forward()
    steps = [step for event in events if (step := forward.advance(event)) is not None]
    phases = [step.progress.phase for step in steps if step.first]
    assert len(phases) == len(set(phases)), "a phase that was left came back"
    for before, after in pairwise(steps):
        assert after.progress.bytes_sent >= before.progress.bytes_sent
        assert after.progress.bytes_received >= before.progress.bytes_received
        if not after.first:
            assert after.progress.phase == before.progress.phase
            assert after.progress.done >= before.progress.done
            if before.progress.total is not None:
                assert after.progress.total is not None
                assert after.progress.total >= before.progress.total
            if before.fraction is not None:
                assert after.fraction is not None
                assert after.fraction >= before.fraction


@given(st.lists(EVENTS, min_size=1, max_size=40), st.lists(st.floats(0, 2), min_size=40))
def test_a_throttle_leaves_steps_out_but_never_the_last_of_a_phase(
    events: list[Progress], waits: list[float]
) -> None:
    now = 0.0
    written: list[tuple[float, Step]] = []
    throttle = Throttled(lambda step: written.append((now, step)), 1.0, lambda: now)
    screen = Screen(throttle)
    for event, wait in zip(events, waits, strict=False):
        now += wait
        screen.show(event)
    screen.close()
    forward = Forward()
    steps = [step for event in events if (step := forward.advance(event)) is not None]
    last = {step.progress.phase: step for step in steps}
    assert {step.progress.phase: step for _, step in written} == last
    inside = [
        (before, after)
        for (before, one), (after, two) in pairwise(written)
        if not two.first and two != last[two.progress.phase] and one.progress.phase
    ]
    assert all(after - before >= 1.0 for before, after in inside)


def test_a_line_says_how_much_of_what() -> None:
    forward = Forward()
    step = forward.advance(
        Progress("transferring", 1200, 5000, "entries", "notes", bytes_sent=1_234_567)
    )
    assert step is not None
    assert plain_line(step) == ("transferring: 1,200 of 5,000 entries (24 %), 1.2 MB sent, notes")
    unknown = forward.advance(Progress("closing", 0, None, "entries"))
    assert unknown is not None
    assert plain_line(unknown) == "closing: 1.2 MB sent"


def test_a_hundred_percent_is_said_when_it_is() -> None:
    step = Forward().advance(Progress("importing", 999_999, 1_000_000, "entries"))
    assert step is not None
    assert "(99 %)" in plain_line(step)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (3 * 10**12, "3.0 TB")],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _show(choice: str, stream: io.StringIO) -> str:
    with showing(choice, stream) as show:
        show(Progress("comparing", 0, None, "rounds"))
        show(Progress("transferring", 1, 4, "entries"))
        show(Progress("transferring", 4, 4, "entries"))
        show(Progress("comparing", 9, None, "rounds"))
    return stream.getvalue()


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    bar = _show("auto", Terminal())
    assert "4 of 4 entries (100 %)" in bar
    assert "\x1b[" in bar
    lines = _show("auto", io.StringIO()).splitlines()
    assert lines[0] == "comparing"
    assert lines[-1] == "transferring: 4 of 4 entries (100 %)"
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in _show("auto", Terminal())


def test_a_bar_leaves_standard_output_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that are piped into a file must not end up on the terminal instead."""
    monkeypatch.setenv("TERM", "xterm")
    before = sys.stdout, sys.stderr
    with showing("auto", Terminal()) as show:
        show(Progress("filling", 1, None, "entries"))
        assert (sys.stdout, sys.stderr) == before


def test_json_lines_are_what_the_schema_says() -> None:
    found = [json.loads(line) for line in _show("json", io.StringIO()).splitlines()]
    for line in found:
        validate(line, "progress")
    assert found[-1]["fraction"] == 1.0
    assert found[-1]["phase"] == "transferring"


def test_none_is_silent_even_on_a_terminal() -> None:
    assert _show("none", Terminal()) == ""


def test_a_watcher_who_leaves_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    stream.close()
    with showing("plain", stream) as show:
        show(Progress("comparing", 0, None, "rounds"))


def test_commands_show_it_on_standard_error_alone(node: Shell) -> None:
    outcome = node.run("put", "notes", "--lines", "--progress", "json", stdin=b"a\nb\n")
    [line] = outcome.complaint.splitlines()
    assert json.loads(line)["phase"] == "filling"
    assert len(outcome.lines) == 2
    assert node.run("check", "--progress", "none").complaint == ""
