"""What `abreast power` and `abreast simulate` print."""

import json
from dataclasses import replace

from analysis.power import Power, power_of_plan
from analysis.rehearse import Rehearsal, Tally
from analysis.render import planning
from experiments.plan_file import find, load

POWER = power_of_plan(load(find("ab")))
TALLY = Tally(
    stream="ar", metric="p50", effect=0.0, runs=200, better=1, worse=2, same=150, undecided=47,
    hits=3, at_least=0.004, at_most=0.038,
)  # fmt: skip


def test_a_power_table_has_a_row_a_metric_and_fits_a_terminal() -> None:
    text = planning.power(POWER)
    for metric in ("p50", "p90", "p95", "p99", "p99.9", "mean"):
        assert sum(line.startswith(f"{metric} ") for line in text.splitlines()) >= 1
    assert max(map(len, text.splitlines())) <= 80
    assert "✓" in text  # the error rates need half a minute
    assert "p99: The smaller arm gets 2,400 requests, and 5,000 are needed." in text


def test_what_takes_a_day_is_said_in_words() -> None:
    slow = power_of_plan(load(find("ab"), ["traffic.rate=0.5", "traffic.duration=1h"]))
    (line,) = [s for s in planning.power(slow).splitlines() if s.startswith("p99.9 ")][:1]
    assert "over 24 h" in line


def test_one_reason_is_given_once() -> None:
    text = planning.power(power_of_plan(load(find("ab"), ["traffic.duration=20s"])))
    assert "p50, p90, p95, p99, p99.9, mean: The 20 s measured are shorter" in text


def test_a_rehearsal_has_a_table_for_equal_arms_and_one_for_others() -> None:
    other = replace(TALLY, effect=-0.05, better=180, worse=0, same=10, undecided=10, hits=180)
    text = planning.rehearsal(Rehearsal(about=("One.", "Two."), tallies=(TALLY, other)))
    lines = text.splitlines()
    assert lines[0] == "A/A: equal arms"
    assert lines[2].split() == [
        "ar",
        "p50",
        "0.50%",
        "1.0%",
        "75.0%",
        "23.5%",
        *lines[2].split()[6:],
    ]
    assert lines[2].endswith("1.5% (at most 3.8%)")
    assert "A/B: one arm's latencies \u22125%" in lines
    assert lines[-2:] == ["One.", "Two."]


def test_json_holds_what_was_found() -> None:
    found = json.loads(planning.as_json(POWER))
    assert found["rates_rps"] == {"current": 20.0, "candidate": 20.0}
    assert set(found) == set(Power.__dataclass_fields__)
    assert found["metrics"][3]["detectable"] is None
