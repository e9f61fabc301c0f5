"""Whatever of a run is killed or interrupted, it ends by itself, and its records add up."""

from collections.abc import Callable

import pytest

from tests.reliability.matrix import PAGE, STOPS, Fault, page_with_table


@pytest.mark.parametrize("fault", STOPS, ids=lambda fault: fault.name)
def test_a_run_that_is_stopped(fault: Fault, put_through: Callable[[Fault], None]) -> None:
    put_through(fault)


def test_the_page_has_the_table_of_these_tests() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page_with_table(text) == text, "run python -m tests.reliability.matrix"
