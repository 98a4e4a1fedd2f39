"""Who is kept out for what they sent, who has to rest, and that neither is remembered for ever."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import Abort, PeerRefusedError
from setsync.limits import MAX_SENTENCE, PENALTY_SECONDS
from setsync.node.penalties import Penalties

KEY, OTHER = bytes(32), bytes([1]) * 32
WHY = "An entry that was sent is not valid: its signature is wrong."


def test_who_is_punished_reads_for_how_long_and_why_until_it_is_over() -> None:
    penalties = Penalties()
    penalties.punish(KEY, WHY, 100.0)
    penalties.check(OTHER, 100.0)
    for passed, left in ((0.0, "10 minutes"), (1.0, "10 minutes"), (541.0, "59 seconds")):
        with pytest.raises(PeerRefusedError, match=f"another {left}, .*signature is wrong"):
            penalties.check(KEY, 100.0 + passed)
    with pytest.raises(PeerRefusedError, match="another 1 second,"):
        penalties.check(KEY, 100.0 + PENALTY_SECONDS - 0.1)
    penalties.check(KEY, 100.0 + PENALTY_SECONDS)


def test_doing_it_again_begins_the_time_anew() -> None:
    penalties = Penalties(seconds=10)
    penalties.punish(KEY, "One.", 0)
    penalties.punish(KEY, "Two.", 9)
    with pytest.raises(PeerRefusedError, match=r"another 9 seconds, .*Two"):
        penalties.check(KEY, 10)
    penalties.check(KEY, 19)


def test_a_reason_of_any_length_leaves_a_sentence_that_an_abort_holds() -> None:
    penalties = Penalties()
    penalties.punish(KEY, "x" * 10_000, 0)
    with pytest.raises(PeerRefusedError) as caught:
        penalties.check(KEY, 0)
    assert len(caught.value.message) <= MAX_SENTENCE


def test_two_sessions_of_a_key_never_begin_within_a_rest() -> None:
    """And those of different keys do not wait for each other."""
    penalties = Penalties(rest=1.0)
    assert penalties.rest(KEY, 5.0) == 0
    assert penalties.begin(KEY, 5.0) == 0
    assert penalties.rest(KEY, 5.0) == 1.0
    assert penalties.rest(KEY, 5.25) == 0.75
    assert penalties.rest(OTHER, 5.25) == 0
    assert penalties.rest(KEY, 6.0) == 0
    assert penalties.rest(KEY, 600.0) == 0


def test_sessions_that_wait_at_once_begin_one_after_the_other() -> None:
    """And who asks for ever more of them is told to come later, which promises nothing."""
    penalties = Penalties(rest=1.0)
    assert [penalties.begin(KEY, 0.0) for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(100):
        with pytest.raises(PeerRefusedError, match="too often") as caught:
            penalties.begin(KEY, 0.0)
        assert caught.value.abort is Abort.BUSY
    assert penalties.begin(KEY, 3.5) == 1.5
    assert penalties.begin(OTHER, 3.5) == 0


def test_no_more_is_remembered_than_its_limit_and_the_oldest_goes_first() -> None:
    penalties = Penalties(most=8)
    keys = [bytes([number]) * 32 for number in range(20)]
    for key in keys:
        penalties.punish(key, WHY, 0)
        penalties.begin(key, 0)
        assert len(penalties) <= 16
    penalties.check(keys[11], 0)
    assert penalties.rest(keys[11], 0) == 0
    for key in keys[12:]:
        with pytest.raises(PeerRefusedError):
            penalties.check(key, 0)
        assert penalties.rest(key, 0) == 1
    penalties.punish(KEY, WHY, 10_000)
    penalties.begin(KEY, 10_000)
    assert len(penalties) == 2


_step = st.tuples(
    st.sampled_from(["punish", "begin"]), st.integers(0, 3), st.integers(0, 40).map(lambda n: n / 4)
)


@given(st.lists(_step, max_size=60))
def test_any_order_of_deeds_ends_as_a_plain_list_of_them_says(
    steps: list[tuple[str, int, float]],
) -> None:
    penalties = Penalties(seconds=8, rest=1)
    now = 0.0
    punished: dict[int, float] = {}
    begun: dict[int, list[float]] = {who: [] for who in range(4)}
    for what, who, later in steps:
        now += later
        key = bytes([who]) * 32
        if what == "punish":
            penalties.punish(key, WHY, now)
            punished[who] = now
        else:
            with contextlib.suppress(PeerRefusedError):
                begun[who].append(now + penalties.begin(key, now))
        for other, starts in begun.items():
            out = _is_out(penalties, bytes([other]) * 32, now)
            assert out == (now < punished.get(other, -8) + 8)
            left = max([0.0, *(at + 1 - now for at in starts)])
            assert penalties.rest(bytes([other]) * 32, now) == left <= 5
    for starts in begun.values():
        assert all(later - earlier >= 1 for earlier, later in pairwise(starts))


def _is_out(penalties: Penalties, key: bytes, now: float) -> bool:
    try:
        penalties.check(key, now)
    except PeerRefusedError:
        return True
    return False
