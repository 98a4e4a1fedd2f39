"""A damaged data file ends in words, never in a signal, and is never taken for sound.

After an unclean stop the store walks its pages before LMDB maps them. What that cannot see
(bytes inside an entry, a summary) is what reading and `check` are for. So every damaged file
is refused; or opened, and what is wrong with it is named; or nothing is wrong with it, since
the damage lies where nobody reads.

One thing nothing can see: a commit is one number in one of two pages of metadata. Damage that
makes the older of the two look newer gives back the store as it was one commit ago, whole.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Opener
from tests.faults.forks import Ended
from tests.faults.work import batch, open_store
from tests.node.processes import make_node, run

BATCHES = 24
_MORE = 3
PAGE = 4096
_META = 160  # bytes of a page of metadata that mean something


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A data file with tries, entries in pages of their own, and free pages."""
    folder = tmp_path_factory.mktemp("damaged") / "sound"
    with open_store(folder) as store:
        for number in range(BATCHES):
            store.add_many(batch(number))
    return (folder / "data.mdb").read_bytes()


# --- damage -------------------------------------------------------------------------------


def _flip(content: bytearray, at: int, chance: random.Random) -> None:
    content[at] ^= 1 << chance.randrange(8)


def one_bit(content: bytearray, chance: random.Random) -> None:
    _flip(content, chance.randrange(len(content)), chance)


def thirty_bits(content: bytearray, chance: random.Random) -> None:
    for _ in range(30):
        one_bit(content, chance)


def head_of_a_page(content: bytearray, chance: random.Random) -> None:
    """Number, kind and bounds of a page, and where its first nodes lie."""
    page = chance.randrange(len(content) // PAGE) * PAGE
    _flip(content, page + chance.randrange(48), chance)


def metadata(content: bytearray, chance: random.Random) -> None:
    """Roots, counters, the number of the commit."""
    _flip(content, chance.randrange(2) * PAGE + chance.randrange(_META), chance)


def a_lost_sector(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) // 512) * 512
    content[at : at + 512] = bytes(512)


def cut_short(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(1, len(content)) :]


DAMAGE: list[Callable[[bytearray, random.Random], None]] = [
    one_bit,
    thirty_bits,
    head_of_a_page,
    metadata,
    a_lost_sector,
    cut_short,
]


# --- what becomes of it -------------------------------------------------------------------


def verdict(ended: Ended, changed_metadata: bool) -> str:
    """What became of a damaged file, in one of the four words that are allowed, or another."""
    if ended.signal or ended.traceback:
        return f"signal {ended.signal}" if ended.signal else ended.traceback
    told = ended.result
    if told["outcome"] == "refused":
        helps = told["exit_code"] == 6 and told["advice"] and "damaged" in told["sentence"]
        return "refused" if helps else f"refused without help: {told}"
    if told["outcome"] == "unreadable" or told["damage"]:
        return "named"
    if told["batches"] == BATCHES:
        return "nothing wrong"
    if told["batches"] == BATCHES - 1 and changed_metadata:
        return "one commit ago"
    return f"taken for sound: {told}"


ALLOWED = {"refused", "named", "nothing wrong", "one commit ago"}


class Trial:
    """Damages copies of a sound file, and counts what becomes of them."""

    def __init__(self, content: bytes, open_it: Opener) -> None:
        self._content = content
        self._open = open_it
        self.found: Counter[str] = Counter()

    def damage(self, damaged: bytes, name: str) -> None:
        """What becomes of one damaged file; `name` says how to make it again."""
        changed_metadata = any(
            damaged[at : at + _META] != self._content[at : at + _META] for at in (0, PAGE)
        )
        what = verdict(self._open(damaged, BATCHES, more=_MORE), changed_metadata)
        self.found[what] += 1
        if what not in ALLOWED:
            print(f"{name}: {what}")

    def damage_at_random(self, count: int, seed: int) -> None:
        print(f"seed {seed}")
        for turn in range(count):
            damage = DAMAGE[turn % len(DAMAGE)]
            damaged = bytearray(self._content)
            damage(damaged, random.Random(seed + turn))
            self.damage(bytes(damaged), f"{damage.__name__} with seed {seed + turn}")
        print(dict(self.found))


@pytest.fixture
def trial(content: bytes, open_after_a_crash: Opener) -> Trial:
    return Trial(content, open_after_a_crash)


def test_sixty_damaged_files_end_in_words(trial: Trial) -> None:
    trial.damage_at_random(60, 20_261_122)
    assert set(trial.found) <= ALLOWED
    assert trial.found["refused"] >= 20


def test_a_sound_file_is_found_sound(content: bytes, trial: Trial) -> None:
    trial.damage(content, "not damaged")
    assert trial.found == {"nothing wrong": 1}


# Bytes 44 and 45 of a page of metadata are the flags of LMDB's table of free pages, always 8.
# lmdb.verify lets 4 (duplicate keys) pass, upon which LMDB's next write ends in an assertion.
_FREE_FLAGS = 44


def test_every_bit_of_the_flags_of_the_free_pages_ends_in_words(
    content: bytes, trial: Trial
) -> None:
    for page, bit in itertools.product(range(2), range(16)):
        damaged = bytearray(content)
        damaged[page * PAGE + _FREE_FLAGS + bit // 8] ^= 1 << bit % 8
        trial.damage(bytes(damaged), f"bit {bit} of page {page}")
    assert set(trial.found) <= ALLOWED


def test_a_command_refuses_a_damaged_store_with_advice(content: bytes, tmp_path: Path) -> None:
    data = make_node(tmp_path / "node")
    (data / "store" / "open").mkdir(parents=True, exist_ok=True)
    (data / "store" / "open" / "1-died").touch()
    (data / "store" / "data.mdb").write_bytes(content[: len(content) // 2])
    for words in (["status"], ["ls"], ["check"]):
        ended = run(*words, "--data", data)
        assert ended.code == 6
        assert "damaged" in ended.stderr
        assert "restore a backup" in ended.stderr


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_two_thousand_damaged_files_end_in_words(trial: Trial) -> None:
    trial.damage_at_random(2_000, random.SystemRandom().getrandbits(32))
    assert set(trial.found) <= ALLOWED


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_every_bit_of_the_metadata_ends_in_words(content: bytes, trial: Trial) -> None:
    for page, at, bit in itertools.product(range(2), range(_META), range(8)):
        damaged = bytearray(content)
        damaged[page * PAGE + at] ^= 1 << bit
        trial.damage(bytes(damaged), f"bit {bit} of byte {at} of page {page}")
    print(dict(trial.found))
    assert set(trial.found) <= ALLOWED
