"""Messages of `setsync-home/1`: one value has one byte string, and whatever comes is understood or
refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.homes.answering import handle_join
from bamboo_compat.homes.messages import (
    Answer,
    Are,
    Heads,
    IAm,
    Join,
    Logs,
    Noted,
    Question,
    Refused,
    Tell,
    Welcomed,
    Who,
    Why,
    encode,
    read_answer,
    read_question,
)
from setsync.errors import PeerError
from tests.bamboo.homes import scenes

TIMES = st.integers(0, 2**64 - 1)
KEYS = st.binary(min_size=32, max_size=32)
SIGNATURES = st.binary(min_size=64, max_size=64)
CODES = st.binary(max_size=64)
HEADERS = st.lists(st.binary(max_size=300), min_size=1, max_size=16).map(tuple)
NUMBERS = st.lists(st.integers(0, 2**64 - 1), max_size=128).map(tuple)

QUESTIONS: st.SearchStrategy[Question] = st.one_of(
    st.builds(Who, CODES),
    st.builds(Join, CODES, TIMES, TIMES, HEADERS, SIGNATURES),
    st.builds(Tell, HEADERS),
    st.builds(Heads, KEYS, TIMES, TIMES, NUMBERS, SIGNATURES),
    st.builds(Logs, KEYS, TIMES, TIMES, TIMES, SIGNATURES),
)
ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.builds(IAm, KEYS, TIMES),
    st.builds(Welcomed, st.binary(max_size=400)),
    st.builds(Noted, st.integers(0, 16)),
    st.builds(
        Are,
        st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=128).map(
            tuple
        ),
    ),
    st.builds(Refused, st.sampled_from(Why), st.text(max_size=120)),
)


@given(QUESTIONS)
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    assert read_question(encode(question)) == question


@given(ANSWERS)
def test_an_answer_is_read_as_it_was_written(answer: Answer) -> None:
    assert read_answer(encode(answer)) == answer


@given(QUESTIONS, st.data())
def test_a_question_that_is_cut_or_goes_on_is_refused(
    question: Question, data: st.DataObject
) -> None:
    content = encode(question)
    cut = data.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:cut], content + b"\0"):
        with pytest.raises(PeerError, match="no question about homes"):
            read_question(wrong)


@given(
    st.binary(max_size=200)
    | st.tuples(st.sampled_from(b"\1\2\3\4\5"), st.binary()).map(
        lambda one: bytes([one[0]]) + one[1]
    )
)
def test_any_bytes_are_one_question_or_none(content: bytes) -> None:
    try:
        question = read_question(content)
    except PeerError:
        return
    assert encode(question) == content


def test_a_message_over_its_limit_is_refused_unread() -> None:
    with pytest.raises(PeerError, match="more than"):
        read_question(b"\1\0" + bytes(65_536))


def test_a_long_sentence_is_cut_at_a_character() -> None:
    answer = read_answer(encode(Refused(Why.FAILED, "ü" * 400)))
    assert answer == Refused(Why.FAILED, "ü" * 250)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Who(), "01 00"),
        (Who(b"\xaa\xbb"), "01 02 aabb"),
        (
            Join(b"\xaa", 1, 2, (b"\x11\x22", b"\x33"), b"\x44" * 64),
            "02 01 aa 0000000000000001 0000000000000002 02 0002 1122 0001 33" + "44" * 64,
        ),
        (Tell((b"\x11",)), "03 01 0001 11"),
        (
            Heads(b"\x55" * 32, 1, 2, (7,), b"\x44" * 64),
            "04" + "55" * 32 + "0000000000000001 0000000000000002 01 0000000000000007" + "44" * 64,
        ),
        (
            Logs(b"\x55" * 32, 1, 2, 7, b"\x44" * 64),
            "05" + "55" * 32 + "0000000000000001 0000000000000002 0000000000000007" + "44" * 64,
        ),
        (IAm(b"\x66" * 32, 3), "81" + "66" * 32 + "0000000000000003"),
        (Welcomed(b"\x77\x88"), "82 0002 7788"),
        (Noted(2), "83 02"),
        (Are(((7, b"\x99"), (8, b""))), "84 02 0000000000000007 0001 99 0000000000000008 0000"),
        (Refused(Why.USED_UP, "No."), "ff 02 0003 4e6f2e"),
    ],
)
def test_messages_have_these_bytes(message: Question | Answer, expected: str) -> None:
    assert encode(message).hex() == expected.replace(" ", "")


def test_what_is_signed_has_these_bytes() -> None:
    join = Join(b"\xaa", 1, 2, (b"\x11",))
    assert join.to_sign(b"\x66" * 32).hex() == (
        b"setsync-home/1 join\0".hex()
        + "66" * 32
        + "f12dd093073bfad8ba6656e7e620378cc33cb4e2ab1f0b443b2898d03d1a9b46"
        + "00000000000000010000000000000002"
        + "e281fae0c58a026a457139c08ca66f97be31528ec6db5dbf76b8b0e5ce99788d"
    )
    times = "0000000000000001" + "0000000000000002"
    asked = "55" * 32 + times + "01" + "0000000000000007"
    heads = Heads(b"\x55" * 32, 1, 2, (7,))
    assert heads.to_sign(b"\x66" * 32).hex() == (
        b"setsync-home/1 heads\0".hex() + "66" * 32 + asked
    )
    logs = Logs(b"\x55" * 32, 1, 2, 7)
    assert logs.to_sign(b"\x66" * 32).hex() == (
        b"setsync-home/1 logs\0".hex() + "66" * 32 + "55" * 32 + times + "0000000000000007"
    )


@given(st.binary(max_size=400))
def test_a_home_answers_whatever_it_is_asked(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "asked"
    with scenes.opened(path) as server:
        for question in (content, *(bytes([tag]) + content for tag in (2, 4, 5))):
            answer = read_answer(handle_join(question, server.context()))
            assert isinstance(answer, Refused | IAm)
