import pytest

from benchmarks.generator import table
from benchmarks.generator.process import CpuTime


def test_a_cell_is_the_median_with_the_range() -> None:
    assert table.cell([3.0, 1.0, 2.0], 1) == "2.0 (1.0\u20133.0)"
    assert table.cell([1234.4], 0) == "1,234"
    assert table.cell([0.0, 0.0], 0) == "0"
    assert table.cell([None, float("nan")], 2) == "\u2013"


def test_a_row_has_the_figures_in_the_order_asked_for() -> None:
    figures = [{"b": 2.0, "a": 1.0}, {"b": 4.0}]
    assert table.row(["x", "y"], figures, a=0, b=1) == "| x | y | 1 | 3.0 (2.0\u20134.0) |"


def test_a_header_has_a_column_for_each_name() -> None:
    assert table.header(["x"], ["a", "b"]) == "| x | a | b |\n|:--|--:|--:|"


def test_tools_are_chosen_by_a_part_of_their_name() -> None:
    assert table.is_wanted("Locust boto3", None)
    assert table.is_wanted("Locust boto3", "k6, locust")
    assert not table.is_wanted("abreast", "k6,locust")


def test_cpu_time_is_interpolated() -> None:
    cpu = CpuTime((0, 1000, 3000), (0.0, 1.0, 2.0))
    assert cpu.between(500, 2000) == pytest.approx(1.0)
