"""`setsync bamboo certificate`: the few entries that verify one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.authors import LOG_ID, SEQ_NUM, author_prefix, find_log
from bamboo_compat.cli.reading import opened_reader
from bamboo_compat.cli.wording import REFUSED, Column, counted, print_table, short, width
from setsync.cli.common import data_option, json_option, print_json, say
from setsync.errors import AmbiguousPrefixError, NoSuchEntryError

if TYPE_CHECKING:
    from bamboo_compat.core.report import Standing
    from bamboo_compat.set.layout import LogRow, Node
    from bamboo_compat.set.reading import Reader


_HASH = re.compile("[0-9a-f]{8,132}")
_HASHES_TOLD = 4


class NoSuchNumberError(NoSuchEntryError):
    """'setsync bamboo log' shows which entries of a log are here."""

    code = "no_such_number"


class SeveralEntriesError(AmbiguousPrefixError):
    """The log is forked. Choose with --hash, by the first 8 or more digits of one of them."""

    code = "several_entries"
    exit_code = 1


def _hash_prefix(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """8 to 132 hex digits, with or without the two bytes that say which hash it is."""
    if value is None:
        return None
    if not _HASH.fullmatch(value.lower()):
        raise click.BadParameter(f"{value!r} is not 8 or more hex digits of an entry's hash.")
    return value.lower()


@click.command()
@click.argument("author", callback=author_prefix)
@click.argument("log_id", type=LOG_ID)
@click.argument("seq_num", metavar="SEQ", type=SEQ_NUM)
@click.option("--hash", "prefix", callback=_hash_prefix, help="Which of several entries SEQ.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the entries there, as JSON lines with their payloads.",
)
@click.option("--bare", is_flag=True, help="Write the entries alone, one after the other.")
@data_option
@json_option
def certificate(
    author: str,
    log_id: int,
    seq_num: int,
    prefix: str | None,
    output: Path | None,
    bare: bool,
    data: Path,
    as_json: bool,
) -> int:
    """Show the certificate pool of entry SEQ: the few entries that verify it without the rest.

    These are the shortest way along links to entry 1, and the way to it from a number above
    by which it is linked to whatever comes later. 'setsync bamboo verify --partial FILE'
    checks them anywhere. Exit codes: 0 it is all here, 7 something is missing.

    \b
    Example:
      setsync bamboo certificate ca93 1024 130 --output pool.jsonl
    """
    if bare and output is None:
        raise click.UsageError("--bare goes with --output.")
    with opened_reader(data) as (_, _, reader):
        from bamboo_compat.set.certificates import find_pool

        key, log = find_log(reader, author, log_id)
        wanted = _wanted(reader, log, seq_num, prefix)
        rows = [
            _Row(
                place.seq_num,
                reader.shelf.hash(place.node) if place.node else None,
                place.node.standing if place.node else None,
                place.linked,
                place.is_beyond,
                place.others,
                *(reader.shelf.entry(place.node) if place.node and output else (b"", None)),
            )
            for place in find_pool(reader, log, wanted)
        ]
        hash_ = reader.shelf.hash(wanted)
    if output is not None:
        _write(output, rows, bare)
    if as_json:
        print_json(_as_json(key, log_id, seq_num, hash_, rows, output))
    else:
        _print(rows, seq_num, output)
    return 0 if _is_whole(rows) else REFUSED


@dataclass(frozen=True, slots=True)
class _Row:
    """A number of the pool; the bytes only where they are to be written."""

    seq_num: int
    hash: bytes | None
    standing: Standing | None
    linked: bool
    is_beyond: bool
    others: int
    header: bytes
    payload: bytes | None


def _wanted(reader: Reader, log: LogRow, seq_num: int, prefix: str | None) -> Node:
    """The entry with this number, chosen by its hash if there are several.

    Raises NoSuchNumberError, SeveralEntriesError.
    """
    found = [(reader.shelf.hash(node), node) for node in reader.at(log, seq_num)]
    if not found:
        raise NoSuchNumberError(f"Entry {seq_num} is not here.")
    if prefix is not None:
        fitting = [(hash_, node) for hash_, node in found if _fits(hash_, prefix)]
        if not fitting:
            raise NoSuchNumberError(f"No entry {seq_num} here has a hash that begins {prefix}.")
        found = fitting
    if len(found) > 1:
        told = ", ".join(hash_.hex() for hash_, _ in found[:_HASHES_TOLD])
        raise SeveralEntriesError(f"{len(found)} entries have number {seq_num}: {told}.")
    return found[0][1]


def _fits(hash_: bytes, prefix: str) -> bool:
    return hash_.hex().startswith(prefix) or hash_[2:].hex().startswith(prefix)


def _is_whole(rows: list[_Row]) -> bool:
    return all(row.is_beyond or (row.hash is not None and row.linked) for row in rows)


def _write(output: Path, rows: list[_Row], bare: bool) -> None:
    with output.open("wb") as file:
        for row in rows:
            if row.hash is None:
                continue
            if bare:
                file.write(row.header)
                continue
            payload = None if row.payload is None else row.payload.hex()
            line = {"entry": row.header.hex(), "payload": payload}
            file.write(json.dumps(line).encode("ascii") + b"\n")


def _as_json(
    author: bytes, log_id: int, seq_num: int, hash_: bytes, rows: list[_Row], output: Path | None
) -> dict[str, object]:
    return {
        "author": author.hex(),
        "log_id": log_id,
        "seq_num": seq_num,
        "hash": hash_.hex(),
        "whole": _is_whole(rows),
        "pool": [
            {
                "seq_num": row.seq_num,
                "hash": row.hash.hex() if row.hash is not None else None,
                "standing": row.standing,
                "linked": row.linked,
                "beyond": row.is_beyond,
                "others": row.others,
            }
            for row in rows
        ],
        "file": str(output) if output is not None else None,
    }


def _print(rows: list[_Row], seq_num: int, output: Path | None) -> None:
    digits = 64 if width() >= 100 else 32
    print_table(
        [
            Column("NUMBER", [str(row.seq_num) for row in rows], right=True),
            Column("ENTRY", [short(row.hash, digits) if row.hash else "" for row in rows]),
            Column("STANDING", [_standing(row) for row in rows]),
            Column("", ["wanted" if row.seq_num == seq_num else _note(row) for row in rows]),
        ]
    )
    missing = sum(row.hash is None and not row.is_beyond for row in rows)
    if missing:
        verb = "is" if missing == 1 else "are"
        click.echo(f"{counted(missing, 'entry')} of the pool {verb} missing here.")
    elif not _is_whole(rows):
        click.echo("No way of links connects them all: what is said to be not linked may be wrong.")
    else:
        click.echo(f"The pool of entry {seq_num} is whole.")
    if output is not None:
        say(f"Written to {output}: {counted(sum(row.hash is not None for row in rows), 'entry')}.")


def _standing(row: _Row) -> str:
    if row.standing is not None:
        return row.standing
    return "not written yet" if row.is_beyond else "missing"


def _note(row: _Row) -> str:
    if row.hash is not None:
        return f"one of {row.others + 1}" if row.others else "" if row.linked else "not linked"
    return f"{row.others} here, none of them linked" if row.others else ""
