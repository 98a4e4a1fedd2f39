"""`setsync payload`: what is dropped here is gone here, and comes back when it is wanted."""

from __future__ import annotations

from pathlib import Path

from setsync.errors import PayloadDroppedError
from setsync.model.entry import make_entry
from setsync.model.keys import read_key_file
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.logs import Author
from tests.cli.running import Shell
from tests.helpers import entries, withheld


def missing(node: Shell, *words: str) -> dict[str, object]:
    found = node.ok("payload", "missing", *words, "--json").json("payload-missing")
    assert isinstance(found, dict)
    return found


def test_without_yes_it_is_only_told(node: Shell) -> None:
    [id_] = node.put("notes", b"hello")
    told = node.ok("payload", "drop", id_[:8])
    assert f"Would drop: {id_} in 'notes', 5 B." in told.complaint
    assert "--yes" in told.complaint
    found = node.ok("payload", "drop", id_, "--json").json("payload-drop")
    assert (found["dropped"], found["bytes"]) == (False, 5)
    assert node.ok("get", id_).raw == b"hello"


def test_a_dropped_payload_is_gone_and_get_says_how_to_want_it_again(node: Shell) -> None:
    [id_] = node.put("notes", b"hello")
    digests = node.digests()
    found = node.ok("payload", "drop", id_[:10].upper(), "--yes", "--json").json("payload-drop")
    assert found == {
        "id": id_,
        "dropped": True,
        "bytes": 5,
        "copies": [{"collection": "notes", "bytes": 5, "was": "here"}],
    }
    told = node.ok("get", id_, "--header", "--json").json("get")
    assert (told["payload_here"], told["payload_dropped"]) == (False, True)
    assert node.ok("get", id_, "--json").json("get")["payload"] is None
    refused = node.run("get", id_)
    assert refused.code == PayloadDroppedError.exit_code
    assert "payload restore" in refused.complaint
    assert refused.raw == b""
    assert node.digests() == digests
    assert node.ok("check").code == 0


def test_it_stays_away_until_it_is_restored(node: Shell, tmp_path: Path) -> None:
    [id_] = node.put("notes", b"hello")
    file = str(tmp_path / "all.setsync")
    node.ok("export", file)
    node.ok("payload", "drop", id_, "--yes")
    node.ok("import", file)
    assert node.run("get", id_).code != 0
    assert missing(node)["count"] == 0
    restored = node.ok("payload", "restore", id_, "--json").json("payload-restore")
    assert restored == {"id": id_, "restored": ["notes"]}
    assert missing(node)["count"] == 1
    assert "not dropped" in node.ok("payload", "restore", id_).complaint
    node.ok("import", file)
    assert node.ok("get", id_).raw == b"hello"
    assert node.ok("check").code == 0


def test_an_entry_of_two_collections_is_dropped_from_both_or_from_the_one_named(
    node: Shell,
) -> None:
    """A native entry names its collection; a Bamboo entry may be filed under two profiles."""
    record = Author().append(b"hello")
    members = [member(record), member(record, "aquadoggo")]
    with Store.open(node.data / "store") as store:
        store.add_many(members)
    id_ = members[0].id.hex()
    names = sorted(one.collection for one in members)
    node.ok("payload", "drop", id_, "--collection", names[0], "--yes")
    found = node.ok("payload", "drop", id_, "--yes", "--json").json("payload-drop")
    assert [(copy["collection"], copy["was"]) for copy in found["copies"]] == [
        (names[0], "dropped"),
        (names[1], "here"),
    ]
    assert node.run("payload", "drop", id_, "--collection", "elsewhere").code == 10
    assert node.ok("check").code == 0


def test_missing_lists_by_arrival_in_pages(node: Shell) -> None:
    some = entries(5)
    with Store.open(node.data / "store") as store:
        store.add_many([withheld(one) for one in some])
    page = missing(node, "--limit", "3")
    rest = missing(node, "--limit", "3", "--after", str(page["next"]))
    assert (page["count"], rest["next"]) == (5, None)
    listed = [*page["payloads"], *rest["payloads"]]  # type: ignore[misc]
    assert [one["id"] for one in listed] == [one.id.hex() for one in some]
    assert {(one["collection"], one["size"]) for one in listed} == {("notes", 9)}
    lines = node.ok("payload", "missing", "--limit", "2")
    assert [line.split()[0] for line in lines.lines] == [one.id.hex() for one in some[:2]]
    assert "--after" in lines.complaint


def test_where_every_payload_is_here_that_is_said(node: Shell) -> None:
    node.put("notes", b"hello")
    assert "Every payload is here" in node.ok("payload", "missing").complaint


def test_payloads_of_the_system_stay(node: Shell) -> None:
    author = read_key_file(node.data / "author.key")
    one = make_entry(author, "system/keys", b"needed", 1)
    with Store.open(node.data / "store") as store:
        store.add(one)
    outcome = node.run("payload", "drop", one.id.hex(), "--yes", "--json")
    assert outcome.json("error")["error"]["code"] == "payload_needed"
    assert node.ok("get", one.id.hex()).raw == b"needed"


def test_nothing_and_too_little_of_an_id_are_refused(node: Shell) -> None:
    for command in ("drop", "restore"):
        assert node.run("payload", command, "0" * 8).code == 10
        assert node.run("payload", command, "abc").code == 2
