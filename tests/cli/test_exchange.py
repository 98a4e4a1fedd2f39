"""`export` and `import` carry entries from node to node, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsync.model.collection import Pattern
from tests.cli.running import Shell

COLLECTIONS = ("notes/a", "notes/b/c", "letters")


@pytest.fixture
def full(node: Shell) -> Shell:
    """A node with ten entries in each of three collections."""
    for name in COLLECTIONS:
        node.put(name, *(f"{name} {number}".encode() for number in range(10)))
    return node


def test_a_file_carries_a_whole_node_to_another(full: Shell, other: Shell, tmp_path: Path) -> None:
    file = str(tmp_path / "all.setsync")
    made = full.ok("export", file, "--json").json("export")
    assert made["entries"] == 30
    assert made["bytes"] == Path(file).stat().st_size
    took = other.ok("import", file, "--json").json("import")
    assert took == {"entries": 30, "new": 30, "known": 0, "payloads": 0}
    assert other.digests() == full.digests()
    assert other.run("check").code == 0


def test_importing_twice_adds_nothing(full: Shell, other: Shell, tmp_path: Path) -> None:
    file = str(tmp_path / "all.setsync")
    full.ok("export", file)
    other.ok("import", file)
    again = other.ok("import", file, "--json").json("import")
    assert (again["new"], again["known"]) == (0, 30)


def test_a_pipe_does_as_well_as_a_file(full: Shell, other: Shell) -> None:
    stream = full.ok("export", "-").raw
    other.ok("import", "-", stdin=stream)
    assert other.digests() == full.digests()


@pytest.mark.parametrize(
    "patterns", [["notes/**"], ["letters"], ["notes/*"], ["letters", "notes/a"], ["nothing"]]
)
def test_patterns_choose_collections(full: Shell, other: Shell, patterns: list[str]) -> None:
    words = [word for pattern in patterns for word in ("--collection", pattern)]
    other.ok("import", "-", stdin=full.ok("export", "-", *words).raw)
    meant = {name for name in COLLECTIONS if any(Pattern(p).matches(name) for p in patterns)}
    assert other.digests() == {n: d for n, d in full.digests().items() if n in meant}


def test_since_goes_on_where_the_last_export_ended(
    full: Shell, other: Shell, tmp_path: Path
) -> None:
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    last = full.ok("export", first, "--json").json("export")["last_arrival"]
    full.put("later", b"news")
    made = full.ok("export", second, "--since", str(last), "--json").json("export")
    assert made["entries"] == 1
    for file in (second, first):
        other.ok("import", file)
    assert other.digests() == full.digests()


def test_a_list_of_ids_chooses_entries(full: Shell, other: Shell, tmp_path: Path) -> None:
    ids = full.ok("ls", "letters", "--ids", "--limit", "3").lines
    (tmp_path / "ids").write_text("\n".join(ids) + "\n")
    from_file = full.ok("export", "-", "--ids", str(tmp_path / "ids")).raw
    from_stdin = full.ok("export", "-", "--ids", "-", stdin="\n".join(ids).encode()).raw
    assert from_file == from_stdin
    other.ok("import", "-", stdin=from_file)
    assert other.ok("ls", "letters", "--ids").lines == ids


def test_an_id_that_is_not_here_leaves_no_file(full: Shell, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("0" * 64 + "\n")
    target = tmp_path / "out"
    target.write_text("an older export")
    outcome = full.run("export", str(target), "--ids", str(tmp_path / "ids"))
    assert outcome.code == 10
    assert target.read_text() == "an older export"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "node", "out"]
    (tmp_path / "ids").write_text("nonsense\n")
    assert full.run("export", str(target), "--ids", str(tmp_path / "ids")).code == 2


def test_a_cut_file_gives_what_came_before_the_cut(
    full: Shell, other: Shell, tmp_path: Path
) -> None:
    stream = full.ok("export", "-").raw
    outcome = other.run("import", "-", "--json", stdin=stream[: len(stream) // 2])
    assert outcome.code == 1
    error = outcome.json("error")["error"]
    assert error["code"] == "export_file"
    kept = other.ok("status", "--json").json("status")["entries"]
    assert 0 < kept < 30
    assert f"after {kept} entries" in error["message"]
    assert "import it" in outcome.complaint
    other.ok("import", "-", stdin=stream)
    assert other.digests() == full.digests()


def test_a_payload_over_this_nodes_limit_is_refused_by_its_setting(
    node: Shell, other: Shell
) -> None:
    node.put("notes", b"short")
    node.put("notes", b"x" * 100)
    stream = node.ok("export", "-").raw
    outcome = other.run("import", "-", stdin=stream, environment={"SETSYNC_MAX_PAYLOAD": "99"})
    assert outcome.code == 1
    assert "SETSYNC_MAX_PAYLOAD" in outcome.complaint
    assert other.ok("status", "--json").json("status")["entries"] == 1


def test_a_payload_that_was_withheld_comes_later(node: Shell, other: Shell) -> None:
    from setsync.store.lmdb_store import Store
    from tests.helpers import entries, withheld

    some = entries(3)
    with Store.open(node.data / "store") as store:
        store.add_many([withheld(entry) for entry in some])
    other.ok("import", "-", stdin=node.ok("export", "-").raw)
    assert other.run("get", some[0].id.hex()).code == 1
    with Store.open(node.data / "store") as store:
        store.add_many(some)
    took = other.ok("import", "-", "--json", stdin=node.ok("export", "-").raw).json("import")
    assert took == {"entries": 3, "new": 0, "known": 3, "payloads": 3}
    assert other.ok("get", some[0].id.hex()).raw == some[0].payload


def test_an_export_cannot_share_standard_output_with_json(node: Shell) -> None:
    assert node.run("export", "-", "--json").code == 2
