"""`setsync fork proof`: the entries that contradict each other, in one file for anyone."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.fork_words import find_fork, id_prefix
from bamboo_compat.cli.reading import opened_reader
from bamboo_compat.core.report import ForkKind
from setsync.cli.common import data_option, say
from setsync.errors import LocalError

if TYPE_CHECKING:
    from bamboo_compat.core.proofs import Proof, Signed
    from bamboo_compat.core.report import Fork
    from bamboo_compat.set.layout import Node
    from bamboo_compat.set.reading import Reader


class NoProofError(LocalError):
    """The fork stays known here; once this node has what is missing, ask for the proof again."""

    code = "no_proof"


@click.command()
@click.argument("id_", metavar="ID", callback=id_prefix)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write into FILE, which gets its name only when it is complete.",
)
@data_option
def proof(id_: str, output: Path | None, data: Path) -> None:
    """Write the proof of the fork whose id begins with ID, to standard output or a file.

    The proof is the signed entries that contradict each other. Whoever has it can check it
    with 'setsync fork check-proof', and needs no node for that and nobody's word. Of a fork
    with more than two branches it holds the first two.

    \b
    Examples:
      setsync fork proof 3f9a11c0 > fork.proof
      setsync fork proof 3f9a11c0 --output fork.proof
    """
    if output is None and _is_terminal():
        raise click.UsageError("A proof is no text: give --output FILE, or redirect with > FILE.")
    with opened_reader(data) as (_, _, reader):
        fork = find_fork(reader, id_)
        made = make_proof(reader, fork)
    encoded = made.encode()
    if output is None:
        click.echo(encoded, nl=False)
    else:
        _write(output, encoded)
        said = f"{output}: {len(encoded)} bytes, proof of fork {fork.id.hex()}."
        say(f"{said} Anyone can check it with 'setsync fork check-proof'.")


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _write(path: Path, content: bytes) -> None:
    """All of it under its name, or nothing; a pipe or a device is written as it is."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        path.write_bytes(content)
        return
    draft = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# --- making -------------------------------------------------------------------------------


def make_proof(reader: Reader, fork: Fork) -> Proof:
    """The proof of a fork, checked as everybody will check it. Raises NoProofError."""
    from bamboo_compat.core import claims
    from bamboo_compat.core.proofs import BadProofError

    try:
        match fork.kind:
            case ForkKind.BRANCH:
                made = claims.make_branch_proof(*_contradicting(reader, fork))
            case ForkKind.AFTER_END:
                made = claims.make_after_end_proof(*_end_and_after(reader, fork))
            case ForkKind.DOUBLE_SCHEMA:
                made = _double_schema(reader, fork)
        claim = claims.check(made)
    except BadProofError as error:
        raise NoProofError(f"No proof can be made of fork {fork.id.hex()}: {error}.") from error
    # Entries that name their parent by BLAKE2b, or differently, do not tell the fork's id.
    if claim.fork_id not in (None, fork.id):
        raise NoProofError(f"What was made proves another fork than {fork.id.hex()}.")
    return made


def _sides(reader: Reader, fork: Fork) -> list[Node]:
    """The first entries of the branches, in their order."""
    return [expect(reader, branch.hash) for branch in fork.branches]


def expect(reader: Reader, tagged: bytes) -> Node:
    """An entry that a fork names. Raises NoProofError; the index would be at odds with itself."""
    node = reader.find(tagged)
    if node is None:
        raise NoProofError(f"The entry {tagged.hex()} is not here.")
    return node


def _contradicting(reader: Reader, fork: Fork) -> tuple[bytes, bytes]:
    """Two entries of a branch. Where it is unknown at which entry they part these are two
    that name different ones: two with one parent would prove the fork at that."""
    first, *others = _sides(reader, fork)
    differing = [node for node in others if node.backlink != first.backlink]
    second = others[0] if fork.parent or not differing else differing[0]
    return _header(reader, first), _header(reader, second)


def _end_and_after(reader: Reader, fork: Fork) -> tuple[bytes, bytes]:
    marker = expect(reader, fork.parent)
    return _header(reader, marker), _header(reader, _sides(reader, fork)[0])


def _double_schema(reader: Reader, fork: Fork) -> Proof:
    from bamboo_compat.core import claims
    from bamboo_compat.set.subjects import AQUADOGGO

    row = reader.fork_row(fork.id)
    one, two = (_signed(reader, node) for node in _sides(reader, fork)[:2])
    if row is None or row.profile != AQUADOGGO:
        return claims.make_double_schema_proof(one, two)

    def find(tagged: bytes) -> Signed | None:
        node = reader.find(tagged)
        return _signed(reader, node) if node is not None else None

    chains = [claims.chain_of(start, find) for start in (one, two)]
    return claims.make_double_document_proof(*chains)


def _header(reader: Reader, node: Node) -> bytes:
    return reader.shelf.entry(node)[0]


def _signed(reader: Reader, node: Node) -> Signed:
    from bamboo_compat.core.proofs import Signed

    return Signed(*reader.shelf.entry(node))
