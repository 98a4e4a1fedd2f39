"""`setsync bamboo append`: the next entry of one's own log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from bamboo_compat.cli.authors import LOG_ID
from bamboo_compat.cli.home_common import yes_option
from setsync.cli.common import data_option, from_here, json_option, opened, print_json, say
from setsync.cli.common import settings as read_settings
from setsync.errors import PayloadTooLargeError

if TYPE_CHECKING:
    from bamboo_compat.core.yamf import Flavour
    from bamboo_compat.set.appending import NextPlace
    from bamboo_compat.set.reading import Reader
    from setsync.model.entry import Entry
    from setsync.model.keys import SecretKey
    from setsync.node.config import DataDirectory
    from setsync.store.contract import EntryStore

# As in `core.profiles`, which help need not wait for.
_PROFILES = ("rfc0001", "aquadoggo")


@click.command()
@click.argument("key_file", metavar="AUTHOR-KEY", type=click.Path(path_type=Path))
@click.argument("log_id", type=LOG_ID)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option(
    "--profile",
    type=click.Choice(_PROFILES),
    help="Whose meaning of log ids. [default: the log's; of a new one rfc0001]",
)
@click.option("--end-of-log", is_flag=True, help="Nothing may follow this entry, ever.")
@click.option(
    "--yamf",
    is_flag=True,
    help="Hash by BLAKE2b. [default: as the entry before; in a new log BLAKE3]",
)
@yes_option
@data_option
@json_option
def append(
    key_file: Path,
    log_id: int,
    file: BinaryIO,
    profile: str | None,
    end_of_log: bool,
    yamf: bool,
    yes: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Add what FILE holds to log LOG_ID of the author with the key in AUTHOR-KEY.

    The entry gets the next number and the right links, and its id is printed once it is
    safely on the disk. Nothing is added to a log that has ended, to one that has forked until
    it is decided which branch is right, nor where entries are missing that it would stand on.
    Use a key on one machine only: what another adds to the same log is a fork. Nothing is
    signed away from the author's home, nor where the home or a known peer has a later entry.

    \b
    Examples:
      setsync key new anna.key
      echo hello | setsync bamboo append anna.key 1024 -
    """
    from bamboo_compat.cli.home_guard import ask_others, guard
    from bamboo_compat.core.yamf import hash_of
    from bamboo_compat.homes.publishing import follow_decision
    from bamboo_compat.set.appending import append_lock
    from setsync.model.keys import read_key_file

    key = read_key_file(key_file)
    payload = _read(file, read_settings(data).max_payload)
    with opened(data) as (directory, store):
        # Before the lock: others need not wait while we wait for a network.
        heads = ask_others(directory, store, key, log_id)
        with append_lock(directory.path):
            ledger = guard(directory, store, key.public, log_id, heads, yes, profile or "rfc0001")
            plan = _plan(directory, store, key.public, log_id, profile, yamf)
            follow_decision(store, ledger, plan.place)
            entry = _sign(plan, key, log_id, payload, end_of_log)
            # On the disk before the entry is anywhere else: whatever becomes of the store, this
            # number is used up, and the entry is still here to be put into it.
            hash_ = hash_of(plan.flavour, entry.header)
            ledger.use(plan.place.seq_num, entry.header, payload, hash_)
            # Durable before the lock is let go: whoever has it next reads this entry as the head.
            store.add_many([entry], [(0, from_here())])
    _tell(entry, plan, as_json)


def _read(file: BinaryIO, limit: int) -> bytes:
    payload = file.read(limit + 1)
    if len(payload) > limit:
        raise PayloadTooLargeError(f"The payload is over the limit of {limit} bytes.")
    return payload


class _Plan(NamedTuple):
    """All that an entry is made of, but for its payload."""

    place: NextPlace
    profile: str
    flavour: Flavour


def _plan(
    directory: DataDirectory,
    store: EntryStore,
    author: bytes,
    log_id: int,
    profile: str | None,
    yamf: bool,
) -> _Plan:
    from bamboo_compat.cli.fork_view import view_of
    from bamboo_compat.core.yamf import Flavour

    with view_of(directory, store) as (_, view):
        place = view.next_place(author, log_id)
        log_profile, flavour = _manner(view.reader, place)
    return _Plan(place, profile or log_profile, Flavour.YAMF if yamf else flavour)


def _manner(reader: Reader, place: NextPlace) -> tuple[str, Flavour]:
    """Profile and hash of the entry before, or those of a new log."""
    from bamboo_compat.core.yamf import Flavour, flavour_of
    from bamboo_compat.homes.publishing import profile_at

    head = None if place.backlink is None else reader.find(place.backlink)
    if head is None:
        return "rfc0001", Flavour.YASMF
    return profile_at(head), flavour_of(reader.shelf.decoded(head).payload_hash)


def _sign(plan: _Plan, key: SecretKey, log_id: int, payload: bytes, end_of_log: bool) -> Entry:
    """The entry, verified like anybody's: what nobody else would take is not signed away."""
    from bamboo_compat.core.entry import decode, sign
    from bamboo_compat.core.profiles import PROFILES
    from bamboo_compat.set.format import collection_of
    from setsync.model.entry import UnverifiedEntry, verify

    header = sign(
        key.seed,
        log_id,
        plan.place.seq_num,
        payload,
        backlink=plan.place.backlink,
        lipmaalink=plan.place.lipmaalink,
        end_of_log=end_of_log,
        flavour=plan.flavour,
    )
    collection = collection_of(PROFILES[plan.profile], decode(header), payload)
    return verify(UnverifiedEntry(collection, header, payload))


def _tell(entry: Entry, plan: _Plan, as_json: bool) -> None:
    from bamboo_compat.core.entry import decode
    from bamboo_compat.core.yamf import hash_of

    if not as_json:
        click.echo(entry.id.hex())
        said = decode(entry.header)
        end = ", the end of the log" if said.end_of_log else ""
        say(f"Entry {said.seq_num} of log {said.log_id}{end}, in {entry.collection}.")
        return
    said = decode(entry.header)
    print_json(
        {
            "id": entry.id.hex(),
            "hash": hash_of(plan.flavour, entry.header).hex(),
            "author": entry.author.hex(),
            "log_id": said.log_id,
            "seq_num": said.seq_num,
            "backlink": said.backlink.hex() if said.backlink is not None else None,
            "lipmaalink": said.lipmaalink.hex() if said.lipmaalink is not None else None,
            "end_of_log": said.end_of_log,
            "payload_size": said.payload_size,
            "profile": plan.profile,
            "collection": entry.collection,
        }
    )
