"""Every decoder of strangers' bytes answers: it takes them and keeps its law, or refuses."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import main
from tests.fuzz.mutation import mutate
from tests.fuzz.running import Run, fuzz, shrink
from tests.fuzz.target import FindingError, LawBrokenError, Target, examine, weight
from tests.fuzz.targets import TARGETS

RUNS = 1_500
SOAK_SECONDS = 120

# Faults that are found and not repaired yet: target, and words of the complaint. A line goes
# away with its fault; the file `found-...` that shows it stays for ever.
OPEN: dict[str, str] = {}

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def _unknown(findings: list[FindingError]) -> list[str]:
    """What is wrong and is not in OPEN, with the bytes to see it again."""
    return [
        f"{finding} ({finding.data.hex()})"
        for finding in findings
        if finding.target not in OPEN or OPEN[finding.target] not in str(finding)
    ]


# --- the decoders -------------------------------------------------------------------------


@each_target
def test_every_sample_is_taken(target: Target) -> None:
    """All but a few that are there to begin a refusal with."""
    answers = [examine(target, data) for data in target.samples()]
    assert answers.count("taken") > len(answers) // 2


@each_target
def test_every_file_of_the_corpus_is_answered(target: Target) -> None:
    findings: list[FindingError] = []
    for data in corpus.read(target.name).values():
        try:
            examine(target, data)
        except FindingError as finding:
            findings.append(finding)
    assert _unknown(findings) == []


@each_target
def test_changed_inputs_are_answered(target: Target) -> None:
    run = fuzz(target, corpus.seeds(target), runs=RUNS, seed=0)
    assert _unknown(run.findings) == []
    assert run.taken
    assert run.runs == RUNS or run.findings


@pytest.mark.soak
@pytest.mark.timeout(0)
@each_target
def test_changed_inputs_are_answered_for_minutes(target: Target) -> None:
    seeds = corpus.seeds(target)
    run = fuzz(target, seeds, runs=2**31, seed=3, seconds=SOAK_SECONDS)
    assert _unknown(run.findings) == []


@each_target
def test_no_input_makes_more_room_than_its_bytes_allow(target: Target) -> None:
    """What is allocated on the way counts here, not only what is left of it."""
    chance, seeds = Random(f"{target.name} room"), corpus.seeds(target)
    inputs = [*seeds, *(mutate(chance.choice(seeds), b"", chance) for _ in range(100))]
    _quietly(target, inputs[0])  # what is loaded once is no input's doing
    # Inside a packed message is as much as its size declares, at most a frame; each reader and
    # writer of an export begins with a buffer of 1 MiB, and the target has several.
    constant = {"packed": 2**21, "export": 2**23}.get(target.name, 2**18)
    tracemalloc.start()
    try:
        for data in inputs:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            _quietly(target, data)
            grown = tracemalloc.get_traced_memory()[1] - before
            assert grown <= 1024 * len(data) + constant, data.hex()
    finally:
        tracemalloc.stop()


def _quietly(target: Target, data: bytes) -> None:
    with contextlib.suppress(FindingError):  # the other tests tell of it
        examine(target, data)


# --- the corpus ---------------------------------------------------------------------------


def test_the_corpus_is_small_and_there_is_some_of_every_target() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} == set(TARGETS)
    for name in TARGETS:
        made = {path: data for path, data in corpus.read(name).items() if "found" not in path.name}
        assert 1 <= len(made) <= corpus.MOST_FILES
        assert all(len(data) <= corpus.MOST_BYTES for data in made.values())


def test_the_corpus_is_made_the_same_every_time_and_keeps_what_was_found(tmp_path: Path) -> None:
    target = TARGETS["proof"]
    found = corpus.keeper("proof", tmp_path)(b"found")
    corpus.make(target, tmp_path)
    first = corpus.read("proof", tmp_path)
    corpus.make(target, tmp_path)
    assert corpus.read("proof", tmp_path) == first
    assert first[found] == b"found"


# --- the fuzzer itself, with faults that are planted --------------------------------------


def _planted(fault: Callable[[bytes], object]) -> Target:
    """The decoder of messages, and something that it does beside."""
    sound = TARGETS["messages"]

    def decode(data: bytes) -> Any:
        fault(data)
        return sound.decode(data)

    return Target("planted", "", decode, sound.answers, sound.samples, sound.law)


def _run(target: Target) -> Run:
    return fuzz(target, target.samples(), runs=RUNS, seed=0)


def _trip(data: bytes) -> None:
    if data[1:2] == b"\xff":
        raise KeyError("an empty drawer")


def test_a_decoder_that_trips_over_one_byte_is_found() -> None:
    target = _planted(_trip)
    (finding,) = _run(target).findings
    assert isinstance(finding.__cause__, KeyError)
    assert shrink(target, finding).data[1:] == b"\xff"


def test_a_law_that_does_not_hold_is_found() -> None:
    sound = TARGETS["messages"]

    def law(data: bytes, _: object) -> None:
        if data.endswith(b"\x01"):
            raise LawBrokenError("never a one at the end")

    target = Target("planted", "", sound.decode, sound.answers, sound.samples, law)
    (finding,) = _run(target).findings
    assert finding.data.endswith(b"\x01")


def test_a_value_much_larger_than_its_bytes_is_found() -> None:
    target = Target("planted", "", lambda data: [data] * 10_000, (), lambda: [b"x"])
    assert fuzz(target, target.samples(), runs=1, seed=0).findings
    assert weight([b"x"] * 100) > 3_300


def test_the_same_seed_makes_the_same_run_and_another_makes_another() -> None:
    target = TARGETS["messages"]
    runs = [fuzz(target, target.samples(), runs=300, seed=seed) for seed in (1, 1, 2)]
    assert runs[0].kept == runs[1].kept
    assert runs[0].kept != runs[2].kept


def test_the_command_prints_what_it_found_and_how_to_see_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TARGETS, "planted", _planted(_trip))
    common = ["planted", "--corpus", str(tmp_path)]
    assert main([*common, "--plain", "--runs", str(RUNS)]) == 1
    told = capsys.readouterr().out
    (path,) = corpus.read("planted", tmp_path)
    assert f"python -m tests.fuzz planted --input {path}" in told
    assert main([*common, "--input", str(path)]) == 1
    assert "an empty drawer" in capsys.readouterr().err
    monkeypatch.setitem(TARGETS, "planted", TARGETS["messages"])
    assert main([*common, "--input", str(path)]) == 0
    assert main(["messages", "--plain", "--runs", "50", "--corpus", str(tmp_path)]) == 0
