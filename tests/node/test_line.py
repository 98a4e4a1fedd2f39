"""Who sits on the line between two nodes: who relays, replays, cuts or delays the handshake."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import trio
import trio.testing

from setsync.errors import PeerError, PeerIdentityError, PeerTimeoutError
from setsync.limits import HELLO_TIMEOUT
from tests.node.ends import simulate
from tests.node.impostors import (
    ANNA,
    BEN,
    MALLORY,
    Honest,
    Judged,
    Streams,
    both,
    dialling,
    face,
    judge,
    listening,
)

# --- in the middle ------------------------------------------------------------------------


async def _pump(source: trio.abc.Stream, goal: trio.abc.Stream, seen: bytearray, most: int) -> None:
    """Pass on at most so many bytes, then cut both ways."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(65_536):
            part = data[: most - len(seen)]
            seen += part
            await goal.send_all(part)
            if len(seen) >= most:
                break
    await trio.aclose_forcefully(goal)
    await trio.aclose_forcefully(source)


async def _on_a_line(most: tuple[int, int]) -> tuple[Judged, Judged, bytearray, bytearray]:
    """Two honest nodes, and what passed each way, cut after so many bytes."""
    here, one = trio.testing.memory_stream_pair()
    two, there = trio.testing.memory_stream_pair()
    up, down = bytearray(), bytearray()
    streams: Streams = (here, there)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, one, two, up, most[0])
        nursery.start_soon(_pump, two, one, down, most[1])
        first, second = await both(dialling(ANNA, BEN), listening(BEN), streams)
        nursery.cancel_scope.cancel()
    return first, second, up, down


FAR = 10**9


def test_a_handshake_cut_at_any_byte_ends_both_sides_at_once() -> None:
    _, _, up, down = simulate(_on_a_line, (FAR, FAR))
    cuts = [(at, FAR) for at in range(1, len(up), 61)] + [(len(up) - 1, FAR)]
    cuts += [(FAR, at) for at in range(1, len(down), 61)] + [(FAR, len(down) - 1)]
    for cut in cuts:
        first, second, *_ = simulate(_on_a_line, cut)
        # A dialler is done before the listener is, so only one of them need have noticed.
        assert second.channel is None or first.channel is None, cut
        for judged in (first, second):
            assert judged.channel is not None or isinstance(judged.error, PeerError), cut
            assert judged.seconds < 1


def test_what_was_said_once_cannot_be_said_again() -> None:
    """Neither half of a recorded handshake opens a channel."""
    _, _, up, down = simulate(_on_a_line, (FAR, FAR))

    def replay(recorded: bytearray) -> Callable[[trio.abc.Stream], object]:
        async def say(stream: trio.abc.Stream) -> None:
            await stream.send_all(recorded)
            while await stream.receive_some(65_536):
                pass

        return say

    for honest, recorded in ((listening(BEN), up), (dialling(ANNA, BEN), down)):
        judged = simulate(face, honest, replay(recorded))
        assert type(judged.error) in (PeerError, PeerIdentityError)


def test_who_sits_between_two_nodes_is_seen() -> None:
    """Mallory can only be Mallory: pinned she is refused, unpinned she is named."""

    async def main() -> None:
        for pin, is_refused in ((BEN, True), (None, False)):
            here, one = trio.testing.memory_stream_pair()
            two, there = trio.testing.memory_stream_pair()
            found: dict[str, Judged] = {}

            async def note(name: str, honest: Honest, end: trio.abc.Stream) -> None:
                found[name] = await judge(honest, end)  # noqa: B023 - all end in this turn

            async with trio.open_nursery() as nursery:
                nursery.start_soon(note, "anna", dialling(ANNA, pin), here)
                nursery.start_soon(note, "to anna", listening(MALLORY), one)
                nursery.start_soon(note, "to ben", dialling(MALLORY, BEN), two)
                nursery.start_soon(note, "ben", listening(BEN), there)
            ben = found["ben"].channel
            assert ben is not None
            assert ben.peer == MALLORY.public
            anna = found["anna"].channel
            assert (anna is None) is is_refused
            assert anna is None or anna.peer == MALLORY.public

    simulate(main)


# --- slow ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_dialled", [True, False], ids=["a listener", "a dialler"])
@pytest.mark.parametrize("drips", [False, True], ids=["silence", "a byte a second"])
def test_a_byte_a_second_gets_no_longer_than_silence(is_dialled: bool, drips: bool) -> None:
    """The deadline is for the whole handshake. What drips is the start of a real one."""
    _, _, up, down = simulate(_on_a_line, (FAR, FAR))

    async def drip(stream: trio.abc.Stream) -> None:
        for byte in (up if is_dialled else down) if drips else b"":
            await stream.send_all(bytes([byte]))
            await trio.sleep(1)
        await trio.sleep_forever()

    judged = simulate(face, listening(BEN) if is_dialled else dialling(ANNA, BEN), drip)
    assert isinstance(judged.error, PeerTimeoutError)
    assert judged.seconds == HELLO_TIMEOUT
