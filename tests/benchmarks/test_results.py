"""Result records: through JSON and back, and as a table."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.results import (
    Result,
    ResultError,
    count,
    dump,
    environment,
    load,
    per_difference,
    read,
    show,
    size,
    write,
)

FULL = Result(
    system="ours",
    n=1_000_000,
    d=200,
    variant="scattered",
    bytes_up=3_000,
    bytes_down=4_000,
    reconcile_bytes=6_500,
    entry_bytes=500,
    bytes_per_difference=32.5,
    round_trips=3,
    cpu_initiator=0.01,
    cpu_responder=0.02,
    wall=0.05,
    peak_rss_initiator=100_000_000,
    peak_rss_responder=90_000_000,
    note="warm",
)
SPARSE = Result("theirs", 10_000, 0, "")


def test_records_survive_json() -> None:
    assert load(dump([FULL, SPARSE], {"python": "3"})) == [FULL, SPARSE]


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    write(paths[0], [FULL])
    write(paths[1], [SPARSE])
    assert read(paths) == [FULL, SPARSE]
    assert sorted(tmp_path.iterdir()) == paths, "nothing half-written stays behind"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "results": []}', '{"format": 1, "results": [{"system": "x"}]}'],
)
def test_what_is_no_results_file_is_refused(text: str) -> None:
    with pytest.raises(ResultError):
        load(text)


def test_the_environment_names_the_day_and_the_versions() -> None:
    about = environment(datetime(2020, 2, 3, 4, 5, tzinfo=UTC), "rich")
    assert about["date"] == "2020-02-03"
    assert about["rich"]
    assert json.loads(dump([], about))["about"] == about


def test_an_unknown_field_is_refused_and_not_dropped() -> None:
    document = json.loads(dump([FULL]))
    document["results"][0]["surprise"] = 1
    with pytest.raises(ResultError, match="surprise"):
        load(json.dumps(document))


def test_sums_are_unknown_when_a_part_is() -> None:
    assert FULL.total_bytes == 7_000
    assert FULL.cpu == pytest.approx(0.03)
    assert SPARSE.total_bytes is None
    assert dataclasses.replace(FULL, cpu_responder=None).cpu is None


def test_no_difference_has_no_bytes_per_difference() -> None:
    assert per_difference(500, 0) is None
    assert per_difference(None, 20) is None
    assert per_difference(500, 20) == 25.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (37_988, "38.0 kB"),
        (752_759, "753 kB"),
        (18_947_611, "18.9 MB"),
        (1_700_000_000, "1.70 GB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_sizes_are_short(value: int | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (200, "200"), (2_000, "2 k"), (1_234, "1,234"), (10**6, "1 M")]
)
def test_counts_are_short(value: int, text: str) -> None:
    assert count(value) == text


def test_the_table_shows_what_is_known_and_a_dash_for_the_rest() -> None:
    out = io.StringIO()
    show([FULL, SPARSE], "title", Console(file=out, width=160))
    text = out.getvalue()
    for expected in ("title", "ours", "1 M", "6.50 kB", "32.5", "0.01 + 0.02", "- + -", "warm"):
        assert expected in text
