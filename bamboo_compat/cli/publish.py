"""`setsync bamboo publish`: an operation, signed here and taken in by one's home. And
`setsync home receipts`: what homes have signed that they took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from bamboo_compat.cli.authors import LOG_ID
from bamboo_compat.cli.home_common import author_key, author_option, myself, road_of
from setsync.cli import common
from setsync.errors import PayloadTooLargeError, UsageError

if TYPE_CHECKING:
    from bamboo_compat.client.desk import Desk
    from bamboo_compat.client.sending import Sent
    from bamboo_compat.homes.joining import Me
    from bamboo_compat.homes.receipts import Receipt

_GRAPHQL = "/graphql"


@click.command()
@click.argument("key_file", metavar="AUTHOR-KEY", type=click.Path(path_type=Path))
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option(
    "--at",
    "url",
    metavar="URL",
    help="The home's page, as https://example.org.  [default: where it was joined, if by such]",
)
@click.option("--log", "log_id", type=LOG_ID, help="Only if it goes into this log.")
@common.data_option
@common.json_option
def publish(
    key_file: Path, file: BinaryIO, url: str | None, log_id: int | None, data: Path, as_json: bool
) -> None:
    """Publish the operation that FILE holds at the author's home, over GraphQL.

    An operation is CBOR, as clients of Bamboo servers write it, and says itself which document
    it begins or changes. The home tells what to sign next; only what follows from one's own log
    is signed, once for each number, so that neither a home that lies nor one that lost entries
    gets the log forked. The entry is on the disk here before it leaves. The home's receipt is
    kept: 'setsync home receipts'.

    \b
    Example:
      setsync bamboo publish anna.key operation.cbor --at https://example.org
    """
    from bamboo_compat.client.sending import publish as publish_there
    from bamboo_compat.core.profiles import MAX_OPERATION

    payload = file.read(MAX_OPERATION + 1)
    if len(payload) > MAX_OPERATION:
        raise PayloadTooLargeError(f"An operation has at most {MAX_OPERATION:,} bytes.")
    with myself(data, key_file) as me:
        desk = _desk(me, url)
        sent = publish_there(me, desk, payload, log_id)
    _tell(sent, desk.web.url, as_json)


def _desk(me: Me, url: str | None) -> Desk:
    """Raises UsageError."""
    from bamboo_compat.client.desk import Desk
    from bamboo_compat.homes.joining import my_home
    from bamboo_compat.homes.roads import Web

    noted = my_home(me)
    place = url if url is not None else noted.url if noted is not None else ""
    if not place.startswith(("http://", "https://")):
        raise UsageError("Say where the home's page is: --at https://HOST")
    road = road_of(me.directory, place.rstrip("/").removesuffix(_GRAPHQL))
    assert isinstance(road, Web)
    return Desk(road)


def _tell(sent: Sent, url: str, as_json: bool) -> None:
    from bamboo_compat.core.yamf import flavour_of, hash_of

    said, member = sent.entry, sent.member
    if not as_json:
        click.echo(member.id.hex())
        again = ", which was signed before," if sent.again else ""
        common.say(
            f"Entry {said.seq_num} of log {said.log_id}{again} is at {url}, and here in "
            f"{member.collection}; the home's receipt is kept."
        )
        return
    common.print_json(
        {
            "id": member.id.hex(),
            "hash": hash_of(flavour_of(said.payload_hash), member.header).hex(),
            "author": member.author.hex(),
            "log_id": said.log_id,
            "seq_num": said.seq_num,
            "backlink": said.backlink.hex() if said.backlink is not None else None,
            "lipmaalink": said.lipmaalink.hex() if said.lipmaalink is not None else None,
            "payload_size": said.payload_size,
            "collection": member.collection,
            "url": url,
            "server": sent.receipt.server.hex(),
            "receipt": sent.receipt.pack().hex(),
            "again": sent.again,
        }
    )


@click.command(epilog="Example: setsync home receipts --log 0")
@click.option("--log", "log_id", type=LOG_ID, help="Only those for this log.")
@author_option
@common.data_option
@common.json_option
def receipts(log_id: int | None, key_file: Path | None, data: Path, as_json: bool) -> None:
    """List what my homes have signed that they took.

    A home that later denies an entry has signed that it had it: the receipt, with --json, is the
    proof, and anybody can check it.
    """
    from bamboo_compat.homes.receipts import Receipts
    from setsync.node.config import DataDirectory

    directory = DataDirectory.open(data)
    author = author_key(directory, key_file).public
    found = list(Receipts(directory.path).kept(author, log_id))
    if as_json:
        common.print_json({"author": author.hex(), "receipts": [_json(one) for one in found]})
        return
    if not found:
        common.say("No receipts are kept. 'setsync bamboo publish' gets them.")
        return
    rows = [
        (str(one.log_id), str(one.seq_num), one.hash.hex(), one.server.hex()[:16]) for one in found
    ]
    common.print_columns([("LOG", "ENTRY", "HASH", "HOME"), *rows])


def _json(one: Receipt) -> dict[str, object]:
    return {
        "log_id": one.log_id,
        "seq_num": one.seq_num,
        "hash": one.hash.hex(),
        "server": one.server.hex(),
        "receipt": one.pack().hex(),
    }
