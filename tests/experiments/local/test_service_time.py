"""Served times of a quiet instance against the distribution that the file states."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from experiments.local.service_time import Distribution, draws

COUNT = 5000


def drawn(table: dict[str, Any], folder: Path | None = None, seed: int = 3) -> list[float]:
    read = Distribution.model_validate(table, context={"folder": folder or Path()})
    return list(islice(draws(read, np.random.default_rng(seed)), COUNT))


TABLES = [
    (
        {"distribution": "exponential", "mean": "20ms"},
        stats.expon(scale=0.02),
    ),
    (
        {"distribution": "lognormal", "median": "20ms", "sigma": 0.3},
        stats.lognorm(s=0.3, scale=0.02),
    ),
    (
        {"distribution": "gamma", "mean": "20ms", "shape": 4},
        stats.gamma(a=4, scale=0.005),
    ),
]


@pytest.mark.parametrize(("table", "law"), TABLES, ids=["exponential", "lognormal", "gamma"])
def test_draws_have_the_law_that_is_stated(table: dict[str, Any], law: Any) -> None:
    assert stats.kstest(drawn(table), law.cdf).pvalue > 0.001
    assert Distribution.model_validate(table).mean_s == pytest.approx(law.mean())


def test_a_constant_is_one() -> None:
    assert set(drawn({"constant": "7ms"})) == {0.007}
    assert set(drawn({"constant": "0s"})) == {0.0}


def test_a_mixture_has_its_components_by_weight() -> None:
    table = {
        "distribution": "mixture",
        "components": [
            {"distribution": "gamma", "mean": "10ms", "shape": 4, "weight": 9},
            {"distribution": "lognormal", "median": "100ms", "sigma": 0.2},
        ],
    }
    fast, slow = stats.gamma(a=4, scale=0.0025), stats.lognorm(s=0.2, scale=0.1)
    times = drawn(table)
    cdf = lambda t: 0.9 * fast.cdf(t) + 0.1 * slow.cdf(t)  # noqa: E731
    assert stats.kstest(times, cdf).pvalue > 0.001
    mean = Distribution.model_validate(table).mean_s
    assert mean == pytest.approx(0.9 * 0.01 + 0.1 * slow.mean())


def test_an_empirical_distribution_is_that_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("at,service_ms\n1,10\n2,20\n3,20\n4,90.5\n")
    table = {"distribution": "empirical", "file": "times.csv"}
    values, counts = np.unique(drawn(table, tmp_path), return_counts=True)
    assert values == pytest.approx([0.01, 0.02, 0.0905])
    assert stats.chisquare(counts, [COUNT / 4, COUNT / 2, COUNT / 4]).pvalue > 0.001
    read = Distribution.model_validate(table, context={"folder": tmp_path})
    assert read.mean_s == pytest.approx(0.140_5 / 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ms\n1\n", "must have a column service_ms"),
        ("service_ms\n", "one time or more"),
        ("service_ms\n-1\n", "0 ms or above"),
        ("service_ms\nnan\n", "0 ms or above"),
        ("service_ms\nfast\n", "a number in each row"),
    ],
)
def test_a_file_that_holds_no_times_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "times.csv").write_text(text)
    with pytest.raises(ValidationError, match=message):
        drawn({"distribution": "empirical", "file": "times.csv"}, tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        drawn({"distribution": "empirical", "file": "times.csv"}, tmp_path)


def test_a_mixture_of_one_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        drawn({"distribution": "mixture", "components": [{"constant": "1ms"}]})


def test_one_seed_gives_the_same_and_another_does_not() -> None:
    table = TABLES[1][0]
    assert drawn(table) == drawn(table)
    assert drawn(table)[:10] != drawn(table, seed=4)[:10]
