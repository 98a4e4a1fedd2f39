"""The ledger: a number that was signed once is never signed again (T25, F7, F8)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core import verify_log
from bamboo_compat.core.entry import decode
from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa
from bamboo_compat.core.yamf import Flavour, hash_of, is_hash_of
from bamboo_compat.homes.errors import LedgerError, NextRefusedError, NumberUsedError
from bamboo_compat.homes.ledger import SLOT, Ledger, Place, ledgers
from bamboo_compat.homes.signing import NextArgs, next_args, sign_next
from setsync.model.keys import SecretKey
from tests.faults.powerloss import Disk, cuts
from tests.faults.shim import Mark, Write, before, read_log

KEY = SecretKey(b"\x07" * 32)
ROOT = Path(__file__).parents[3]


def hash_at(number: int, word: bytes = b"") -> bytes:
    """A tagged hash of nothing in particular."""
    return hash_of(Flavour.YASMF, word + b"%d" % number)


def test_a_hash_is_that_of_bytes_with_its_prefix_and_length_and_in_no_other_form() -> None:
    for flavour in Flavour:
        tagged = hash_of(flavour, b"x")
        assert is_hash_of(tagged, b"x")
        assert not is_hash_of(tagged, b"y")
        for wrong in (b"\1" + tagged[1:], tagged[:1] + b"\x21" + tagged[2:], tagged[:-1], b""):
            assert not is_hash_of(wrong, b"x")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty one."""
    return Ledger(tmp_path, KEY.public, 5)


def grown(ledger: Ledger, count: int) -> list[bytes]:
    """Headers of so many more entries, each signed as a truthful server asks."""
    return [
        sign_next(next_args(ledger), ledger, KEY, b"payload %d" % number) for number in range(count)
    ]


# --- what it keeps ------------------------------------------------------------------------


def test_what_was_signed_is_there_for_whoever_opens_it_next(ledger: Ledger, tmp_path: Path) -> None:
    headers = grown(ledger, 40)
    again = Ledger(tmp_path, KEY.public, 5)
    assert again.head() == Place(40, hash_of(Flavour.YASMF, headers[-1]))
    for number, header in enumerate(headers, 1):
        assert again.hash_at(number) == hash_of(Flavour.YASMF, header)
    assert again.hash_at(41) is None
    signed = again.unfinished()
    assert signed is not None
    assert (signed.seq_num, signed.header, signed.payload) == (40, headers[-1], b"payload 39")
    assert [one.log_id for one in ledgers(tmp_path, KEY.public)] == [5]


def test_what_is_signed_by_it_is_a_log_that_every_verifier_takes(ledger: Ledger) -> None:
    headers = grown(ledger, 60)
    report = verify_log([(header, b"payload %d" % n) for n, header in enumerate(headers)])
    assert report.all_verified
    assert not report.forked


def test_a_slot_has_these_bytes(ledger: Ledger) -> None:
    ledger.use(3, b"header", b"payload", b"\x00\x20" + b"\xab" * 32)
    content = ledger.path.read_bytes()
    assert content[: 3 * SLOT] == bytes(3 * SLOT)
    slot = content[3 * SLOT :]
    assert slot[:11].hex() == "4c31" + "0000000000000003" + "22"
    assert slot[11:45] == b"\x00\x20" + b"\xab" * 32
    assert slot[45:112] == bytes(67)
    assert slot[112:].hex() == "bfe45d07bea4fc4dfd14f0594d722bd5"
    assert ledger.signed_path.read_bytes()[:16].hex() == "5331" + "0000000000000003000600000007"
    assert oct(ledger.path.stat().st_mode & 0o777) == "0o600"


def test_a_number_is_used_once_and_for_the_same_entry_as_often_as_one_likes(
    ledger: Ledger,
) -> None:
    ledger.use(1, b"a", b"", hash_at(1))
    ledger.use(1, b"a", b"", hash_at(1))
    for number in (1, 0, -1, 2**32):
        with pytest.raises((NumberUsedError, LedgerError)):
            ledger.use(number, b"b", b"", hash_at(number % 2**64, b"other"))
    assert ledger.head() == Place(1, hash_at(1))


def test_numbers_that_were_used_elsewhere_are_taken_over_and_lower_ones_left_alone(
    ledger: Ledger,
) -> None:
    ledger.note(Place(100_000, hash_at(100_000)))
    assert ledger.head() == Place(100_000, hash_at(100_000))
    ledger.note(Place(7, hash_at(7)))
    assert ledger.hash_at(7) is None
    with pytest.raises(NumberUsedError):
        ledger.use(8, b"a", b"", hash_at(8))
    assert ledger.path.stat().st_blocks * 512 < 64 * 1024, "holes take no room"


def test_a_torn_last_slot_was_never_signed_and_hides_nothing(ledger: Ledger) -> None:
    """Also where the one before lies far below, and where a lower number is signed after."""
    ledger.use(5, b"five", b"", hash_at(5))
    ledger.use(90, b"ninety", b"", hash_at(90))
    with ledger.path.open("r+b") as file:
        file.seek(90 * SLOT + 60)
        file.write(b"torn")
    assert ledger.head() == Place(5, hash_at(5))
    ledger.use(6, b"six", b"", hash_at(6))
    assert ledger.head() == Place(6, hash_at(6))
    ledger.use(7, b"seven", b"", hash_at(7))
    assert ledger.head() == Place(7, hash_at(7))
    assert ledger.hash_at(90) is None


def test_damage_before_the_end_is_told_and_nothing_is_signed(ledger: Ledger) -> None:
    grown(ledger, 9)
    content = bytearray(ledger.path.read_bytes())
    for at in range(8 * SLOT, 10 * SLOT, 37):
        content[at] ^= 1
    ledger.path.write_bytes(content)
    with pytest.raises(LedgerError, match="damaged"):
        ledger.head()
    with pytest.raises(LedgerError, match="damaged"):
        sign_next(NextArgs(5, 8, None, None), ledger, KEY, b"")


@settings(max_examples=50)
@given(st.lists(st.integers(1, 400), max_size=30), st.randoms(use_true_random=False))
def test_whatever_is_used_in_whatever_order_no_number_gets_two_entries(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], chance: random.Random
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"), KEY.public, 1)
    used: dict[int, bytes] = {}
    for turn, number in enumerate(numbers):
        tagged = hash_at(number, b"%d" % (turn if chance.random() < 0.7 else 0))
        highest = max(used, default=0)
        if number > highest or (used.get(number) == tagged and number == highest):
            ledger.use(number, b"h", b"", tagged)
            used[number] = tagged
        else:
            with pytest.raises(NumberUsedError):
                ledger.use(number, b"h", b"", tagged)
        head = ledger.head()
        assert head is not None
        assert head == Place(max(used), used[max(used)])
    for number, tagged in used.items():
        assert ledger.hash_at(number) == tagged


# --- a server that lies (T25) -------------------------------------------------------------


class Liar:
    """Says what comes into its head, most of it near the truth."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seen: list[bytes] = []

    def answer(self, truth: NextArgs) -> NextArgs:
        """Sometimes the truth; else what it was before, or something altered or made up."""
        if self.chance.random() < 0.1:
            return truth
        number = self._number(truth.seq_num)
        return NextArgs(
            truth.log_id if self.chance.random() < 0.9 else truth.log_id + 1,
            number,
            self._link(truth.backlink) if number > 1 else None,
            self._link(truth.lipmaalink) if has_lipmaalink(number) else None,
        )

    def _number(self, truth: int) -> int:
        kinds = (truth, truth - 1, truth + 1, self.chance.randrange(1, truth + 1), 1, 2**63)
        return max(1, self.chance.choice(kinds))

    def _link(self, truth: bytes | None) -> bytes | None:
        old = self.chance.choice(self.seen) if self.seen else None
        return self.chance.choice((truth, old, None, hash_at(self.chance.getrandbits(20))))


def test_ten_thousand_answers_of_a_lying_server_get_no_second_signature_for_any_number(
    ledger: Ledger,
) -> None:
    seed = 20_261_123
    print(f"seed {seed}")
    liar, signed, refused = Liar(seed), dict[int, bytes](), 0
    for turn in range(10_000):
        truth = next_args(ledger)
        args = liar.answer(truth)
        try:
            header = sign_next(args, ledger, KEY, b"payload %d" % turn)
        except NextRefusedError:
            refused += 1
            assert args != truth
            continue
        entry = decode(header)
        assert entry.seq_num not in signed, "a second signature for one number"
        signed[entry.seq_num] = hash_of(Flavour.YASMF, header)
        liar.seen.append(signed[entry.seq_num])
        assert entry.backlink == signed.get(entry.seq_num - 1)
        if entry.lipmaalink is not None:
            assert entry.lipmaalink == signed[lipmaa(entry.seq_num)]
    assert sorted(signed) == list(range(1, len(signed) + 1))
    assert len(signed) > 900
    assert refused > 7_000
    print(f"signed {len(signed)}, refused {refused}")


def test_a_server_that_was_restored_from_a_backup_is_refused_and_told_apart(
    ledger: Ledger,
) -> None:
    headers = grown(ledger, 12)
    restored = NextArgs(5, 9, hash_of(Flavour.YASMF, headers[7]), None)
    with pytest.raises(
        NextRefusedError, match=r"asks for number 9 .* the next one is 13"
    ) as caught:
        sign_next(restored, ledger, KEY, b"again")
    assert caught.value.exit_code == 13
    assert caught.value.advice
    forgetful = NextArgs(5, 1, None, None)
    with pytest.raises(NextRefusedError, match="the next one is 13"):
        sign_next(forgetful, ledger, KEY, b"again")


# --- the power fails (T25, F7) ------------------------------------------------------------

SIGN = """
import os, sys
from pathlib import Path
from bamboo_compat.core.entry import decode
from bamboo_compat.homes.ledger import Ledger
from bamboo_compat.homes.signing import next_args, sign_next
from setsync.model.keys import SecretKey

key = SecretKey(b"\\x07" * 32)
ledger = Ledger(Path(sys.argv[1]), key.public, 5)
for number in range(int(sys.argv[2])):
    header = sign_next(next_args(ledger), ledger, key, b"payload %d" % number)
    os.write(int(sys.argv[3]), header.hex().encode() + b"\\n")  # it leaves
"""


def recorded(shim: Path, folder: Path, name: str, count: int) -> tuple[list[object], list[str]]:
    """What a signing process wrote into the file with a name, and let out; and the headers."""
    log = folder / f"log-{name}"
    (folder / f"of-{name}").mkdir()
    hear, say = os.pipe()
    environment = os.environ | before(shim, log=log, mark=say) | {"SHIM_NAME": name}
    subprocess.run(
        [sys.executable, "-c", SIGN, folder / f"of-{name}", str(count), str(say)],
        cwd=ROOT,
        env=environment,
        pass_fds=[say],
        check=True,
        timeout=120,
    )
    os.close(say)
    with os.fdopen(hear, "rb") as pipe:
        headers = pipe.read().decode().split()
    assert len(headers) == count
    return list(read_log(log)), headers


def test_a_power_cut_between_signing_and_sending_never_frees_a_number_that_left(
    shim: Path, tmp_path: Path
) -> None:
    """Of each of 400 images of the disk: every entry that left is known, the next number is above
    it, and a lying server gets no second signature for it."""
    events, headers = recorded(shim, tmp_path, "5", 40)
    seed = 20_261_124
    print(f"seed {seed}")
    unsent = 0
    for turn, cut in enumerate(cuts(events, 400, random.Random(seed))):  # type: ignore[arg-type]
        left = [bytes.fromhex(line) for line in b"".join(cut.said).decode().split()]
        folder = tmp_path / "images" / str(turn)
        ledger = Ledger(folder, KEY.public, 5)
        ledger.path.parent.mkdir(parents=True)
        ledger.path.write_bytes(cut.image)
        head = ledger.head()
        height = head.seq_num if head is not None else 0
        assert height >= len(left), "a number that left is free again"
        assert height <= len(left) + 1
        unsent += height > len(left)
        for number, header in enumerate(left, 1):
            assert ledger.hash_at(number) == hash_of(Flavour.YASMF, header)
        before_it = hash_of(Flavour.YASMF, left[-2]) if len(left) > 1 else None
        if left:
            with pytest.raises(NextRefusedError):
                sign_next(NextArgs(5, len(left), before_it, None), ledger, KEY, b"another")
        header = sign_next(next_args(ledger), ledger, KEY, b"after the cut")
        assert decode(header).seq_num == height + 1
    assert unsent > 5, "some cuts fell between signing and sending"
    assert headers


def test_the_entry_itself_is_on_the_disk_before_its_number_is_used(
    shim: Path, tmp_path: Path
) -> None:
    """So what was signed and not sent can be sent: the same bytes, and no others."""
    events, headers = recorded(shim, tmp_path, "5.signed", 12)
    disk = Disk()
    said = 0
    for event in events:
        disk.apply(event)  # type: ignore[arg-type]
        if isinstance(event, Mark):
            said += 1
            image = disk.image(random.Random(said))
            assert bytes.fromhex(headers[said - 1]) in image
    assert said == 12


def test_the_tool_sees_a_ledger_that_does_not_wait_for_the_disk(shim: Path, tmp_path: Path) -> None:
    """The control: the same cuts without the syncs find numbers that are free again."""
    events, _ = recorded(shim, tmp_path, "5", 40)
    unsynced = [event for event in events if isinstance(event, Write | Mark)]
    lost = 0
    for turn, cut in enumerate(cuts(unsynced, 100, random.Random(1))):
        left = b"".join(cut.said).decode().split()
        ledger = Ledger(tmp_path / "control" / str(turn), KEY.public, 5)
        ledger.path.parent.mkdir(parents=True)
        ledger.path.write_bytes(cut.image)
        try:
            head = ledger.head()
        except LedgerError:
            lost += 1
            continue
        lost += (head.seq_num if head is not None else 0) < len(left)
    assert lost > 10
