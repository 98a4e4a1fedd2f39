"""Which numbers of a log were signed here: on the disk before anything that was signed leaves.

A number that was signed once is never signed again, whatever a server says and whenever the power
fails. For each log there are two files, `ledger/AUTHOR/LOG` and `ledger/AUTHOR/LOG.signed`.

The first has a slot of 128 bytes for each number, where that number times 128 says, and a hole
where nothing is known. Slot 0 is as that of the number from which the last jump over others began.

| offset | size | field |
|---|---|---|
| 0 | 2 | "L1" |
| 2 | 8 | sequence number |
| 10 | 1 | length h of the hash, 34 or 66 |
| 11 | h | tagged hash of the entry; zeros follow, up to offset 112 |
| 112 | 16 | beginning of BLAKE3 of author, log id (8) and the 112 bytes before |

The second has the entry that was signed last, so that what was begun can be finished:

| offset | size | field |
|---|---|---|
| 0 | 2 | "S1" |
| 2 | 8 | sequence number |
| 10 | 2, 4 | lengths of header and payload |
| 16 | | header, payload |
| | 32 | BLAKE3 of all before it |

It is on the disk before the slot is, and the slot before the entry leaves. So only the last slot
can be torn, and then nothing that was signed for it has left.

Whoever signs holds `append_lock` from reading the head until the entry is in the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from bamboo_compat.core.yamf import PREFIX, is_hash_of
from bamboo_compat.homes.errors import LedgerError, NumberUsedError
from bamboo_compat.homes.fields import Fields, counted
from bamboo_compat.homes.limits import MAX_LEDGER_NUMBER
from setsync.limits import MAX_HEADER, MAX_PAYLOAD
from setsync.store.durable import sync_to_disk

FOLDER = "ledger"
SLOT = 128
_BODY = 112
_MARK = b"L1"
_SIGNED = b"S1"
_CHECKSUM = 16
_HASHES = (PREFIX + 32, PREFIX + 64)
_NAME_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's number, and its tagged hash."""

    seq_num: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """An entry as it was signed."""

    seq_num: int
    header: bytes
    payload: bytes


class Ledger:
    """What was signed of one log. `directory` is the data directory."""

    def __init__(self, directory: Path, author: bytes, log_id: int) -> None:
        self.author = author
        self.log_id = log_id
        self._root = directory
        self._folder = directory / FOLDER / author.hex()
        self.path = self._folder / str(log_id)
        self.signed_path = self._folder / f"{log_id}.signed"

    # --- reading --------------------------------------------------------------------------

    def head(self) -> Place | None:
        """The highest number that was signed; None where none was. Raises LedgerError.

        A last slot that is not whole was never finished; one before it that is not whole is
        damage.
        """
        last = self._slots() - 1
        if last < 1:
            return None
        if (place := self._place(self._read(last), last)) is not None:
            return place
        before = self._read(last - 1) if last > 1 else b""
        if (place := self._place(before, last - 1)) is not None:
            return place
        if any(before):
            raise LedgerError(f"{self.path} is damaged where number {last - 1} stands.")
        return self._before_the_jump()

    def _before_the_jump(self) -> Place | None:
        """The head from which somebody went on to a number far above, and did not arrive."""
        start = self._read(0)
        place = self._place(start)
        if place is None:
            if any(start):
                raise LedgerError(f"{self.path} is damaged where it begins.")
            return None
        if self._place(self._read(place.seq_num), place.seq_num) != place:
            raise LedgerError(f"{self.path} is damaged where number {place.seq_num} stands.")
        return place

    def hash_at(self, seq_num: int) -> bytes | None:
        """The tagged hash of the entry with a number, where it is known. Raises LedgerError."""
        if not 0 < seq_num < self._slots():
            return None
        data = self._read(seq_num)
        place = self._place(data, seq_num)
        head = self.head()
        if place is None and any(data) and head is not None and seq_num < head.seq_num:
            raise LedgerError(f"{self.path} is damaged where number {seq_num} stands.")
        return place.hash if place is not None else None

    def unfinished(self) -> Signed | None:
        """The entry that was signed last, which may not have got into the store.

        None where nothing was, where the head was taken over from elsewhere, and where the entry
        is lost and its number used all the same: nothing follows it before it is found.
        Raises LedgerError.
        """
        head = self.head()
        if head is None:
            return None
        found = self._read_signed()
        if found is None or found.seq_num < head.seq_num:
            return None
        # A later one was begun, and its number was never used.
        if found.seq_num > head.seq_num:
            return None
        return found if is_hash_of(head.hash, found.header) else None

    # --- writing --------------------------------------------------------------------------

    def use(self, seq_num: int, header: bytes, payload: bytes, hash_: bytes) -> None:
        """Use up a number for an entry. On the disk when this returns, and only then may the
        entry leave; the same entry again changes nothing.

        Raises NumberUsedError where another was signed for it or a later one; LedgerError.
        """
        if self._is_used(seq_num, hash_):
            return
        self._make_folder()
        signed = _SIGNED + seq_num.to_bytes(8, "big") + _lengths(header, payload)
        signed += header + payload
        self._put(self.signed_path, 0, signed + blake3(signed).digest(), cut=True)
        self._put_slot(Place(seq_num, hash_))

    def note(self, place: Place) -> None:
        """Take over that a number was used elsewhere, as an archive or a home says; a lower one
        than the head only where nothing is known of it yet. Raises LedgerError."""
        head = self.head()
        if head is not None and place.seq_num <= head.seq_num:
            return
        self._check_number(place.seq_num)
        self._make_folder()
        self._put_slot(place)

    def follow(self, place: Place) -> None:
        """Go on after an entry of another branch, which was decided to be the right one: what was
        signed behind it is on a branch that nobody follows. Raises LedgerError."""
        self._check_number(place.seq_num)
        self._make_folder()
        self._put_slot(place)

    def _is_used(self, seq_num: int, hash_: bytes) -> bool:
        """Whether just this was signed already. Raises NumberUsedError, LedgerError."""
        self._check_number(seq_num)
        head = self.head()
        if head is None or seq_num > head.seq_num:
            return False
        if (seq_num, hash_) == (head.seq_num, head.hash):
            return True
        raise NumberUsedError(
            f"Number {seq_num} of log {self.log_id} was signed here already; "
            f"the last one was {head.seq_num}, {head.hash.hex()}."
        )

    def _check_number(self, seq_num: int) -> None:
        if not 0 < seq_num <= MAX_LEDGER_NUMBER:
            raise LedgerError(
                f"A ledger holds numbers from 1 to {MAX_LEDGER_NUMBER:,}, and not {seq_num}."
            )

    def _put_slot(self, place: Place) -> None:
        """What lies behind was never finished, and would hide this one: it is cut off."""
        head = self.head()
        if head is not None and place.seq_num > head.seq_num + 1:
            self._put(self.path, 0, self._slot(head))
        self._put(self.path, place.seq_num * SLOT, self._slot(place), cut=True)

    def _put(self, path: Path, offset: int, data: bytes, *, cut: bool = False) -> None:
        """Write and wait for the disk; with `cut` nothing stays behind what was written."""
        try:
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if cut and os.fstat(descriptor).st_size > offset + len(data):
                    os.ftruncate(descriptor, offset + len(data))
                _write_all(descriptor, data, offset)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync_to_disk(path.parent)
        except OSError as error:
            raise LedgerError(f"{path} cannot be written: {error.strerror}.") from error

    def _make_folder(self) -> None:
        try:
            for folder in (self._folder.parent, self._folder):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    sync_to_disk(folder.parent)
        except OSError as error:
            raise LedgerError(f"{self._folder} cannot be made: {error.strerror}.") from error

    # --- bytes ----------------------------------------------------------------------------

    def _slots(self) -> int:
        """How many slots the file has, slot 0 and one that is not whole among them."""
        try:
            return -(-self.path.stat().st_size // SLOT)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _read(self, number: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(number * SLOT)
                return file.read(SLOT)
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _read_signed(self) -> Signed | None:
        """None where there is none, or one that is not whole."""
        try:
            with self.signed_path.open("rb") as file:
                data = file.read(MAX_HEADER + MAX_PAYLOAD + 64)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{self.signed_path} cannot be read: {error.strerror}.") from error
        fields = Fields(data)
        try:
            mark, seq_num = fields.take(2), fields.number(8)
            sizes = fields.number(2), fields.number(4)
            header, payload = (fields.take(size) for size in sizes)
            checksum = fields.take(32)
        except ValueError:
            return None
        if mark != _SIGNED or blake3(data[: 16 + sum(sizes)]).digest() != checksum:
            return None
        return Signed(seq_num, header, payload)

    def _slot(self, place: Place) -> bytes:
        body = _MARK + place.seq_num.to_bytes(8, "big") + counted(place.hash, 1)
        body = body.ljust(_BODY, b"\0")
        return body + self._checksum(body)

    def _checksum(self, body: bytes) -> bytes:
        whose = self.author + self.log_id.to_bytes(8, "big")
        return blake3(whose + body).digest()[:_CHECKSUM]

    def _place(self, slot: bytes, number: int | None = None) -> Place | None:
        """What a slot says; None unless it is whole, and about `number` if that is given."""
        if len(slot) != SLOT or slot[_BODY:] != self._checksum(slot[:_BODY]):
            return None
        found, size = int.from_bytes(slot[2:10], "big"), slot[10]
        if size not in _HASHES or number not in (None, found):
            return None
        return Place(found, slot[11 : 11 + size])


def ledgers(directory: Path, author: bytes) -> Iterator[Ledger]:
    """Of every log of an author that something was signed of here. Raises LedgerError."""
    folder = directory / FOLDER / author.hex()
    try:
        names = sorted(item.name for item in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"{folder} cannot be read: {error.strerror}.") from error
    for name in names:
        if name.isascii() and name.isdigit() and len(name) <= _NAME_DIGITS:
            yield Ledger(directory, author, int(name))


def _lengths(header: bytes, payload: bytes) -> bytes:
    return len(header).to_bytes(2, "big") + len(payload).to_bytes(4, "big")


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
