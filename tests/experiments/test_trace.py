"""A trace is replayed at its own distances, whatever form its times have."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.errors import PlanError
from experiments.trace import read_trace, span_s


def test_seconds_are_counted_from_the_first_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("at_s,user\n12.5,b\n10,a\n14,c\n")
    times_s = read_trace(path)
    assert times_s.tolist() == [0.0, 2.5, 4.0]
    assert span_s(times_s) == 6.0  # the last at 4 s, and a mean gap of 2 s


def test_a_runs_own_records_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    pd.DataFrame({"scheduled_ns": [5_000_000, 25_000_000, 6_000_000]}).to_parquet(path)
    assert np.allclose(read_trace(path), [0.0, 0.001, 0.02])


def test_timestamps_of_a_log_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "timestamp\n2026-01-31T23:59:59.750Z\n2026-02-01T00:00:01Z\n2026-02-01T01:00:01+01:00\n"
    )
    assert np.allclose(read_trace(path), [0.0, 1.25, 1.25])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("when\n1\n2\n", "the columns when"),
        ("at_s\n1\n", "two times or more"),
        ("at_s\n1\nnoon\n", "noon"),
        ("at_s\n1\n\n3\n,\n", "cannot be read"),
        ("timestamp\nyesterday\ntoday\n", "yesterday"),
        ("", "cannot be read"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_its_reason(
    tmp_path: Path, text: str, part: str
) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(text)
    with pytest.raises(PlanError) as caught:
        read_trace(path)
    assert "arrivals.csv" in caught.value.message
    assert part in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        read_trace(tmp_path / "nothing.parquet")
