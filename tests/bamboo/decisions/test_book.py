"""forks.json: read whole or refused, changed by one at a time, with its history."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.decisions import book as books
from bamboo_compat.decisions.acting import decide_here, set_policy, undecide_here
from bamboo_compat.decisions.book import Book, DecisionsFile, Did, Policy, Record
from bamboo_compat.decisions.errors import ForksFileError
from bamboo_compat.decisions.limits import MAX_REASON, MAX_WHO
from setsync.errors import NewerFormatError
from tests.bamboo.statements.saying import hashes, ids, reasons, texts

FORK, OTHER = b"f" * 32, b"o" * 32
ONE, TWO = b"\x00\x20" + b"1" * 32, b"\x00\x20" + b"2" * 32


def records() -> st.SearchStrategy[Record]:
    times, names = st.integers(0, 2**63), texts(MAX_WHO)
    return st.one_of(
        st.builds(
            Record, times, names, st.just(Did.DECIDE), fork=ids, branch=hashes, reason=reasons
        ),
        st.builds(Record, times, names, st.just(Did.UNDECIDE), fork=ids, reason=reasons),
        st.builds(
            Record,
            times,
            names,
            st.just(Did.POLICY),
            author=st.one_of(st.just(b""), ids),
            policy=st.one_of(st.none(), st.sampled_from(Policy)),
            reason=reasons,
        ),
    )


@given(st.lists(records(), max_size=8))
def test_what_was_said_is_read_again_as_it_was(said: list[Record]) -> None:
    encoded = books._FORMAT.encode(Path("forks.json"), Book(said))
    assert books._FORMAT.decode(Path("forks.json"), encoded) == Book(said)


def test_the_last_word_about_a_fork_holds_and_all_words_stay(tmp_path: Path) -> None:
    assert DecisionsFile(tmp_path).read().decision(FORK) is None
    assert not undecide_here(tmp_path, FORK, who="", at=1)
    decide_here(tmp_path, FORK, ONE, who="anna", at=1, reason="mine")
    decide_here(tmp_path, OTHER, ONE, who="anna", at=2)
    decide_here(tmp_path, FORK, TWO, who="ben", at=3)
    book = DecisionsFile(tmp_path).read()
    assert book.decision(FORK) == Record(3, "ben", Did.DECIDE, FORK, TWO)
    assert undecide_here(tmp_path, FORK, who="anna", at=4, reason="unsure")
    book = DecisionsFile(tmp_path).read()
    assert book.decision(FORK) is None
    assert [(one.at, one.who, one.did, one.reason) for one in book.history(FORK)] == [
        (1, "anna", Did.DECIDE, "mine"),
        (3, "ben", Did.DECIDE, ""),
        (4, "anna", Did.UNDECIDE, "unsure"),
    ]
    assert (tmp_path / "forks.json").stat().st_mode & 0o777 == 0o600


def test_policies_are_asked_by_author_and_then_by_default(tmp_path: Path) -> None:
    def policies() -> tuple[Policy, Policy]:
        book = DecisionsFile(tmp_path).read()
        return book.policy(), book.policy(OTHER)

    assert policies() == (Policy.ASK, Policy.ASK)
    set_policy(tmp_path, Policy.IGNORE, who="", at=1)
    assert policies() == (Policy.IGNORE, Policy.IGNORE)
    set_policy(tmp_path, Policy.PREFER_HOME, OTHER, who="", at=2)
    assert policies() == (Policy.IGNORE, Policy.PREFER_HOME)
    assert DecisionsFile(tmp_path).read().policies() == {OTHER: Policy.PREFER_HOME}
    set_policy(tmp_path, None, OTHER, who="", at=3)
    assert policies() == (Policy.IGNORE, Policy.IGNORE)
    assert DecisionsFile(tmp_path).read().policies() == {}


GOOD = {"at": 1, "who": "", "did": "decide", "fork": "66" * 32, "branch": ONE.hex(), "reason": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"at": "1"},
        {"at": True},
        {"who": 1},
        {"who": "x" * (MAX_WHO + 1)},
        {"who": "two\nlines"},
        {"reason": "x" * (MAX_REASON + 1)},
        {"reason": None},
        {"did": "guess"},
        {"fork": "66" * 31},
        {"fork": None},
        {"branch": "0020" + "66" * 31},
        {"branch": ""},
        {"did": "policy"},
        {"did": "policy", "author": "66", "policy": "ask"},
        {"did": "policy", "author": None, "policy": "always"},
    ],
)
def test_a_file_that_is_not_one_of_ours_decides_nothing_and_is_left_alone(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "forks.json"
    path.write_text(json.dumps({"forks": 1, "records": [GOOD | change]}))
    before = path.read_bytes()
    with pytest.raises(ForksFileError):
        DecisionsFile(tmp_path).read()
    with pytest.raises(ForksFileError):
        decide_here(tmp_path, FORK, ONE, who="", at=1)
    assert path.read_bytes() == before


def test_a_good_file_is_read_and_one_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "forks.json"
    path.write_text(json.dumps({"forks": 1, "records": [GOOD]}))
    assert DecisionsFile(tmp_path).read().decision(FORK) is not None
    path.write_text(json.dumps({"forks": 2, "records": []}))
    with pytest.raises(NewerFormatError):
        DecisionsFile(tmp_path).read()


def test_what_no_file_could_hold_is_refused_before_anything_changes(tmp_path: Path) -> None:
    for who, reason in (("x" * (MAX_WHO + 1), ""), ("", "x" * (MAX_REASON + 1)), ("", "\x1b[2J")):
        with pytest.raises(ForksFileError):
            decide_here(tmp_path, FORK, ONE, who=who, at=1, reason=reason)
    assert not (tmp_path / "forks.json").exists()


def test_with_too_many_words_the_oldest_goes_that_holds_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books, "MAX_RECORDS", 3)
    book = Book()
    for at, (fork, branch) in enumerate([(FORK, ONE), (OTHER, ONE), (FORK, TWO), (FORK, ONE)]):
        book.add(Record(at, "", Did.DECIDE, fork, branch))
    assert [one.at for one in book.records] == [1, 2, 3]
    book.add(Record(4, "", Did.DECIDE, b"t" * 32, ONE))
    with pytest.raises(ForksFileError):
        book.add(Record(5, "", Did.DECIDE, b"u" * 32, ONE))


def test_of_many_who_decide_at_once_every_word_is_kept(tmp_path: Path) -> None:
    def speak(number: int) -> None:
        decide_here(tmp_path, bytes([number]) * 32, ONE, who=str(number), at=number)

    threads = [threading.Thread(target=speak, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.at for one in DecisionsFile(tmp_path).read().records} == set(range(12))
