"""The pictures: what is drawn from which records. How they look is for eyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plots import (
    PlotError,
    busiest,
    bytes_against_d,
    cpu_against_n,
    draw_all,
    draw_bytes,
    styles,
)
from benchmarks.results import Result


def result(system: str, n: int, d: int, per_d: float | None, cpu: float | None) -> Result:
    return Result(
        system, n, d, "", bytes_per_difference=per_d, cpu_initiator=cpu, cpu_responder=cpu
    )


RESULTS = [
    result("a", 1000, 200, 30.0, 1.0),
    result("a", 1000, 20, 70.0, 0.5),
    result("a", 1000, 20, 90.0, 0.5),
    result("a", 10, 20, 5.0, 0.1),
    result("b", 1000, 20, None, 2.0),
    result("b", 1000, 200, 900.0, None),
    result("b", 1000, 0, None, 2.0),
]


def test_points_are_ordered_and_repetitions_become_their_mean() -> None:
    assert bytes_against_d(RESULTS, 1000) == {"a": [(20, 80.0), (200, 30.0)], "b": [(200, 900.0)]}


def test_missing_values_are_left_out() -> None:
    assert cpu_against_n(RESULTS, 200) == {"a": [(1000, 2.0)]}
    assert cpu_against_n(RESULTS, 20) == {"a": [(10, 0.2), (1000, 1.0)], "b": [(1000, 4.0)]}


def test_the_commonest_value_is_chosen_and_the_larger_of_two() -> None:
    assert busiest([1, 2, 2, 3, 3]) == 3
    with pytest.raises(PlotError):
        busiest([])


def test_systems_are_told_apart_by_more_than_colour() -> None:
    looks = list(styles(f"system {i}" for i in range(7)).values())
    assert len({look.colour for look in looks}) == 7
    assert len({look.marker for look in looks}) == 7
    many = list(styles(f"system {i}" for i in range(50)).values())
    assert len({(look.colour, look.marker, str(look.line)) for look in many}) == 50


def test_both_pictures_are_written_in_both_formats(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = draw_all(RESULTS, tmp_path / "docs")
    assert [path.name for path in paths] == ["bytes.png", "bytes.svg", "cpu.png", "cpu.svg"]
    svg = paths[1].read_text()
    for words in ("limit: one 8-byte short id", "bytes on the wire", "differing entries d"):
        assert words in svg
    assert paths[0].read_bytes().startswith(b"\x89PNG")


def test_the_same_records_give_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first = draw_bytes(RESULTS, tmp_path / "first")
    second = draw_bytes(RESULTS, tmp_path / "second")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_nothing_to_draw_is_said_and_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(PlotError, match="no record"):
        draw_bytes([], tmp_path / "none")
    with pytest.raises(PlotError, match="no record"):
        draw_bytes(RESULTS, tmp_path / "none", n=77)
    assert not list(tmp_path.iterdir())
