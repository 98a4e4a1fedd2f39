"""Invites: a code lists as many keys as it is for, and everybody else hears why not."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)

from setsync.errors import (
    Abort,
    InviteError,
    NoSuchInviteError,
    NotListedError,
    PeerRefusedError,
    PeersFileError,
    SetsyncError,
    UsageError,
)
from setsync.limits import (
    INVITE_MEMORY_SECONDS,
    MAX_INVITE_SECONDS,
    MAX_INVITE_USES,
    MAX_INVITES,
    MAX_PEERS,
)
from setsync.model.keys import SecretKey
from setsync.node.access import Access, Mode
from setsync.node.address import Address
from setsync.node.client import Options
from setsync.node.dialling import Dialler, Target
from setsync.node.identity import Identity
from setsync.node.invites import (
    Invite,
    Invites,
    Standing,
    digest_of,
    parse_code,
    seconds_of,
    show_code,
)
from setsync.node.listening import listen
from setsync.node.local import now
from setsync.node.peers import Book, Peer, PeersFile, Rule
from setsync.node.tries import Tries
from tests.helpers import some_bytes
from tests.node import impostors
from tests.node.ends import Side, opened
from tests.node.secure import store_of

CODE, OTHER_CODE = bytes(range(16)), bytes(16)
ANNA, BEN, CARL = (bytes([number]) * 32 for number in (1, 2, 3))
DAY = 86_400_000


def _invite(code: bytes = CODE, uses: int = 1, made: int = 0, days: int = 7) -> Invite:
    return Invite(digest_of(code), made, made + days * DAY, uses, "guest", ("team",))


@pytest.fixture
def peers(tmp_path: Path) -> PeersFile:
    """A list with one invite, good for seven days from 0."""
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.invites.add(_invite(), 0)
    return file


def _access(peers: PeersFile, now: int = 1, mode: Mode = Mode.INVITED) -> Access:
    return replace(Access.of(mode, peers), clock=lambda: now, ticks=lambda: 0.0)


def _refusal(access: Access, key: bytes, code: bytes) -> str:
    with pytest.raises(InviteError) as caught:
        access.redeem(key, code)
    assert (caught.value.abort, caught.value.exit_code) == (Abort.INVITE, 3)
    assert caught.value.message.endswith((".", "?"))
    return caught.value.message


# --- codes --------------------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16), st.randoms(use_true_random=False))
def test_a_code_is_read_however_it_is_typed(code: bytes, random: object) -> None:
    """Case, blanks and dashes do not matter, nor digits for letters that look like them."""
    shown = show_code(code)
    assert re.fullmatch("([a-z2-7]{4}-){6}[a-z2-7]{2}", shown)
    assert parse_code(shown) == code
    assert parse_code(shown.upper().replace("-", "")) == code
    assert parse_code(f" {shown.replace('-', ' ')}\n") == code
    assert parse_code("--".join(shown)) == code
    assert parse_code(shown.replace("o", "0").replace("l", "1").replace("b", "8")) == code


@given(st.text(max_size=40) | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26))
def test_any_text_is_one_code_or_a_usage_error_that_does_not_repeat_it(text: str) -> None:
    said = ""
    try:
        code = parse_code(text)
    except UsageError as error:
        said = error.message
    else:
        assert parse_code(show_code(code)) == code
        assert len(code) == 16
    assert len(text) < 8 or text not in said


@pytest.mark.parametrize("text", ["", "a" * 25, "a" * 27, "a" * 25 + "9", "a" * 25 + "b", "é" * 26])
def test_what_is_no_code_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="26 letters and digits"):
        parse_code(text)


def test_a_code_is_nowhere_in_what_is_kept(peers: PeersFile) -> None:
    kept = peers.path.read_text() + repr(peers.read())
    for form in (CODE.hex(), show_code(CODE), show_code(CODE).replace("-", ""), repr(CODE)):
        assert form not in kept
    assert digest_of(CODE).hex() in kept
    assert digest_of(CODE).hex() not in repr(peers.read())


# --- being let in -------------------------------------------------------------------------


def test_who_shows_an_invite_is_listed_by_it_and_needs_it_no_more(peers: PeersFile) -> None:
    access = _access(peers)
    assert not access.check(ANNA)
    access.redeem(ANNA, CODE)
    kept = PeersFile(peers.path).read()
    assert kept.peers == {ANNA: Peer(ANNA, name="guest", groups=("team",))}
    assert [one.uses for one in kept.invites.all()] == [0]
    assert access.check(ANNA)
    assert access.groups(ANNA) == ("everybody", "listed", "team")


def test_each_of_what_can_be_wrong_with_an_invite_has_its_own_answer(peers: PeersFile) -> None:
    with peers.changing() as book:
        book.invites.add(revoked := _invite(OTHER_CODE), 0)
        book.invites.revoke(revoked.id, 0)
    late = _access(peers, now=7 * DAY)
    said = [_refusal(late, ANNA, CODE), _refusal(late, ANNA, OTHER_CODE)]
    access = _access(peers)
    access.redeem(BEN, CODE)
    said += [_refusal(access, ANNA, code) for code in (CODE, b"x" * 64, b"")]
    for sentence, word in zip(
        said,
        ["has expired", "taken back", "used up", "no such invite", "--invite CODE"],
        strict=True,
    ):
        assert word in sentence
    assert len(set(said)) == 5
    assert set(peers.read().peers) == {BEN}


def test_who_is_listed_uses_up_nothing(peers: PeersFile) -> None:
    """Also when it was listed while its invite was on its way."""
    with peers.changing() as book:
        book.put(Peer(ANNA))
    before = peers.path.read_bytes()
    _access(peers).redeem(ANNA, CODE)
    assert peers.path.read_bytes() == before
    book = Book(invites=Invites({digest_of(CODE): _invite()}))
    book.put(Peer(ANNA, name="anna"))
    book.redeem(ANNA, CODE, 1)
    assert (book.peers[ANNA].name, book.invites.all()) == ("anna", [_invite()])


def test_an_invite_lifts_no_block(peers: PeersFile) -> None:
    with peers.changing() as book:
        book.put(Peer(ANNA, Rule.BLOCKED))
        with pytest.raises(PeerRefusedError, match="does not talk to you"):
            book.redeem(ANNA, CODE, 1)
    with pytest.raises(PeerRefusedError, match="does not talk to you"):
        _access(peers).redeem(ANNA, CODE)
    _access(peers).redeem(BEN, CODE)


def test_an_invite_opens_only_a_node_that_takes_invites(peers: PeersFile) -> None:
    with pytest.raises(NotListedError):
        _access(peers, mode=Mode.LISTED).redeem(ANNA, CODE)
    _access(peers, mode=Mode.OPEN).redeem(ANNA, CODE)
    assert peers.read().invites.all() == [_invite()]


def test_a_full_list_takes_nobody_and_no_invite() -> None:
    book = Book({number.to_bytes(32): Peer(number.to_bytes(32)) for number in range(MAX_PEERS)})
    book.invites.add(_invite(), 0)
    with pytest.raises(PeersFileError, match="at most"):
        book.redeem(b"\xff" * 32, CODE, 1)
    assert book.invites.all() == [_invite()]


def test_a_list_that_cannot_be_written_lets_nobody_in(peers: PeersFile) -> None:
    """Who is not on the disk afterwards was not let in, and the invite is not used up."""
    draft = peers.path.with_name("peers.json.new")
    draft.mkdir()
    with pytest.raises(PeersFileError, match="cannot be written"):
        _access(peers).redeem(ANNA, CODE)
    draft.rmdir()
    assert not _access(peers).check(ANNA)
    _access(peers).redeem(BEN, CODE)


# --- many at once -------------------------------------------------------------------------

GUESTS = """
import sys, threading
from pathlib import Path
from setsync.errors import InviteError
from setsync.node.access import Access, Mode
from setsync.node.peers import PeersFile

access = Access.of(Mode.INVITED, PeersFile(Path(sys.argv[1])))
start = threading.Barrier(11)

def guest(key):
    start.wait()
    try:
        access.redeem(key, bytes.fromhex(sys.argv[3]))
    except InviteError as error:
        sys.stdout.write(error.message + "\\n")
    else:
        sys.stdout.write("in " + key.hex() + "\\n")

threads = [
    threading.Thread(target=guest, args=(bytes([int(sys.argv[2]), number]) * 16,))
    for number in range(10)
]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.readline()
start.wait()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("uses", [1, 7])
def test_fifty_guests_at_once_share_what_one_code_is_for(tmp_path: Path, uses: int) -> None:
    """In five processes of ten threads each, on one real file; the others hear that it is used
    up, and whoever was told to be in is in."""
    path, code = tmp_path / "peers.json", b"sixteen letters!"
    with PeersFile(path).changing() as book:
        made = now()
        book.invites.add(_invite(code, uses, made), made)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", GUESTS, str(path), str(number), code.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [line for child in children for line in child.communicate(timeout=60)[0].splitlines()]
    assert [child.returncode for child in children] == [0] * 5
    let_in = {bytes.fromhex(line.split()[1]) for line in said if line.startswith("in ")}
    assert len(said) == 50
    assert len(let_in) == uses
    assert sum("used up" in line for line in said) == 50 - uses
    kept = PeersFile(path).read()
    assert set(kept.peers) == let_in
    assert [one.uses for one in kept.invites.all()] == [0]


# --- over the line ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _inviting(peers: PeersFile) -> AsyncIterator[Target]:
    """A node on a port of this machine that takes invites."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    access = Access.of(Mode.INVITED, peers)
    async with (
        opened(Side(store_of(1)), impostors.ANNA.public) as local,
        trio.open_nursery() as nursery,
    ):
        identity = Identity.of(impostors.ANNA)
        nursery.start_soon(listen, local, listeners, lambda _: None, identity, access)
        yield Target(Address("127.0.0.1", port, impostors.ANNA.public))
        nursery.cancel_scope.cancel()


async def _sync(
    target: Target, folder: Path, secret: SecretKey, invite: bytes
) -> SetsyncError | None:
    dialler = Dialler(secret, PeersFile(folder / "theirs.json"))
    async with opened(Side(store_of(2)), secret.public) as local:
        try:
            report = await dialler.session(target, local, Options(invite=invite))
        except SetsyncError as error:
            return error
    assert report.in_sync
    return None


def test_a_guest_syncs_with_its_code_once_and_without_it_ever_after(tmp_path: Path) -> None:
    """Who has none, or a used one, is told so and learns nothing else."""
    ben, mallory = impostors.BEN, impostors.MALLORY
    carl = SecretKey(b"c" * 32)
    peers = PeersFile(tmp_path / "peers.json")
    with peers.changing() as book:
        made = now()
        book.invites.add(_invite(CODE, 1, made), made)

    async def main() -> None:
        async with _inviting(peers) as target:
            uninvited = await _sync(target, tmp_path, mallory, b"")
            assert uninvited is not None
            assert "sync with --invite CODE" in uninvited.message
            assert await _sync(target, tmp_path, ben, CODE) is None
            late = await _sync(target, tmp_path, carl, CODE)
            assert late is not None
            assert "used up" in late.message
            assert {uninvited.exit_code, late.exit_code} == {3}
            assert await _sync(target, tmp_path, ben, b"") is None
        assert set(peers.read().peers) == {ben.public}

    trio.run(main)


# --- how often it may be tried ------------------------------------------------------------

HERE, THERE = "192.0.2.1", "192.0.2.2"


def test_an_address_has_five_tries_and_then_one_a_minute() -> None:
    """And costs the others nothing of theirs once it has none."""
    tries = Tries()
    assert [tries.allow(HERE, 0.0) for _ in range(100)] == [True] * 5 + [False] * 95
    assert [tries.allow(THERE, 1.0) for _ in range(6)] == [True] * 5 + [False]
    assert not tries.allow(HERE, 59.0)
    assert [tries.allow(HERE, 60.5) for _ in range(2)] == [True, False]
    assert [tries.allow(HERE, 3600.0) for _ in range(6)] == [True] * 5 + [False]


def test_all_addresses_together_have_twenty_tries_and_then_one_a_minute() -> None:
    tries = Tries()
    allowed = [tries.allow(f"198.51.100.{number}", 0.0) for number in range(1, 101)]
    assert allowed == [True] * 20 + [False] * 80
    assert [tries.allow(f"203.0.113.{number}", 60.0) for number in range(1, 4)] == [
        True,
        False,
        False,
    ]


def test_a_subscriber_is_one_address_and_loopback_is_none() -> None:
    tries = Tries()
    assert [tries.allow(f"2001:db8::{number}", 0.0) for number in range(1, 7)][-2:] == [True, False]
    assert all(tries.allow("127.0.0.1", 0.0) for _ in range(15))
    assert not tries.allow("::1", 0.0)
    assert not tries.allow("", 0.0)
    assert tries.allow("", 60.0)


def test_a_clock_that_goes_back_brings_no_tries() -> None:
    tries = Tries()
    for moment in (1000.0, 0.0, 1000.0, 0.0, 1000.0):
        assert tries.allow(HERE, moment)
    assert not tries.allow(HERE, 0.0)
    assert not tries.allow(HERE, 1000.0)


def test_guessing_is_stopped_and_an_honest_guest_elsewhere_gets_in(peers: PeersFile) -> None:
    access = _access(peers)
    for _ in range(5):
        with pytest.raises(InviteError):
            access.redeem(ANNA, b"guess" * 3, HERE)
    for code in (b"guess" * 3, CODE):
        with pytest.raises(PeerRefusedError, match="in a minute") as caught:
            access.redeem(ANNA, code, HERE)
        assert caught.value.abort is Abort.BUSY
    access.redeem(BEN, CODE, THERE)


def test_a_room_full_of_guests_gets_in_from_one_address(tmp_path: Path) -> None:
    """Tries that succeed do not count."""
    peers = PeersFile(tmp_path / "peers.json")
    with peers.changing() as book:
        book.invites.add(_invite(uses=30), 0)
    access = _access(peers)
    for number in range(30):
        access.redeem(bytes([number]) * 32, CODE, HERE)
    assert len(peers.read().peers) == 30


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=120))
def test_no_order_of_tries_gets_more_than_its_share(steps: list[tuple[int, int]]) -> None:
    """In any stretch of time: what may be saved up, and one for each minute of it."""
    tries, now = Tries(), 0
    allowed: list[tuple[int, int]] = []
    for later, host in steps:
        now += later
        if tries.allow(f"192.0.2.{host + 1}", float(now)):
            allowed.append((now, host))
    for first, (begin, host) in enumerate(allowed):
        after = allowed[first:]
        for last, (end, _) in enumerate(after):
            minutes = (end - begin) / 60
            assert last + 1 <= 20 + minutes + 1e-6
            own = sum(who == host for _, who in after[: last + 1])
            assert own <= 5 + minutes + 1e-6


# --- the list of them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m", 60), ("90m", 5_400), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_a_time_is_a_number_and_a_letter(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "7", "d", "0d", "-1d", "1y", "1 d", "91d", "13w", "٣d", "1d\n"]
)
def test_no_invite_is_good_for_what_is_no_time_or_too_long(text: str) -> None:
    with pytest.raises(UsageError, match="90d at most"):
        seconds_of(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": b"short"},
        {"uses": -1},
        {"uses": MAX_INVITE_USES + 1},
        {"expires": -1},
        {"expires": 1000 * MAX_INVITE_SECONDS + 1},
        {"name": "x" * 65},
        {"groups": ("b", "a")},
        {"groups": ("Team",)},
        {"groups": ("listed",)},
    ],
    ids=str,
)
def test_an_invite_out_of_bounds_is_a_usage_error(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(_invite(), **changes)  # type: ignore[arg-type]


def test_what_is_over_makes_room_and_what_is_open_does_not() -> None:
    invites = Invites()
    for number in range(MAX_INVITES):
        invites.add(_invite(number.to_bytes(16)), 0)
    with pytest.raises(UsageError, match="revoke one"):
        invites.add(_invite(CODE), 0)
    invites.revoke(_invite((7).to_bytes(16)).id, 0)
    invites.add(_invite(CODE), 0)
    assert len(invites.all()) == MAX_INVITES
    assert digest_of((7).to_bytes(16)) not in invites.by_digest


def test_two_invites_never_have_one_id() -> None:
    invites = Invites()
    invites.add(_invite(), 0)
    twin = replace(_invite(), digest=_invite().digest[:4] + bytes(28))
    with pytest.raises(UsageError, match="already"):
        invites.add(twin, 0)


def _codes(length: int) -> st.SearchStrategy[bytes]:
    """Codes that are no word of anything else: whatever is looked up as one is a secret, and at
    the end of the run it is looked for in all that was said."""
    return st.integers(0, 1 << 64).map(lambda number: some_bytes("code", number, length=length))


class AnyOrder(RuleBasedStateMachine):
    """Making, showing, revoking and waiting, against what each code may still do."""

    codes: Bundle[bytes] = Bundle("codes")

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.now = 1_000_000
        self.guests = 0
        self.left: dict[bytes, int] = {}
        self.expires: dict[bytes, int] = {}
        self.revoked: set[bytes] = set()
        self.listed: dict[bytes, bytes] = {}

    def _expected(self, code: bytes) -> str:
        if code not in self.left or self.now >= self.expires[code] + 1000 * INVITE_MEMORY_SECONDS:
            return "no such invite"
        if code in self.revoked:
            return "taken back"
        if self.left[code] == 0:
            return "used up"
        return "has expired" if self.now >= self.expires[code] else "in"

    @rule(
        target=codes,
        code=_codes(16),
        uses=st.integers(1, 3),
        days=st.integers(1, 20),
    )
    def create(self, code: bytes, uses: int, days: int) -> bytes | MultipleResults[bytes]:
        if digest_of(code)[:4] in {digest_of(one)[:4] for one in self.left}:
            return multiple()
        self.book.invites.add(_invite(code, uses, self.now, days), self.now)
        self.left[code], self.expires[code] = uses, self.now + days * DAY
        return code

    @rule(code=codes | st.integers(1, 64).flatmap(_codes))
    def show(self, code: bytes) -> None:
        self.guests += 1
        key = self.guests.to_bytes(32)
        expected = self._expected(code)
        if expected == "in":
            self.book.redeem(key, code, self.now)
            self.left[code] -= 1
            self.listed[key] = code
        else:
            with pytest.raises(InviteError, match=expected):
                self.book.redeem(key, code, self.now)

    @rule(code=codes)
    def show_again(self, code: bytes) -> None:
        for key in list(self.listed)[:3]:
            self.book.redeem(key, code, self.now)

    @rule(code=codes)
    def revoke(self, code: bytes) -> None:
        id_ = _invite(code).id
        if self._expected(code) == "no such invite":
            with pytest.raises(NoSuchInviteError):
                self.book.invites.revoke(id_, self.now)
        else:
            self.book.invites.revoke(id_, self.now)
            self.revoked.add(code)

    @rule(days=st.floats(0, 30))
    def wait(self, days: float) -> None:
        self.now += int(days * DAY)

    @invariant()
    def the_list_holds_exactly_who_came_with_a_good_code(self) -> None:
        assert set(self.book.peers) == set(self.listed)
        for code, left in self.left.items():
            if self._expected(code) != "no such invite":
                kept = self.book.invites.by_digest[digest_of(code)]
                assert kept.uses == left
                is_open = kept.standing(self.now) is Standing.OPEN
                assert is_open == (self._expected(code) == "in")


TestAnyOrder = AnyOrder.TestCase
