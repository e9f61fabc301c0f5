"""Sentences and words that stand beside or instead of a drawing."""

from dataclasses import replace

from analysis.render import findings, html
from analysis.render.format import DASH


def test_a_percentile_without_an_interval_is_called_nothing(reports):
    slower = reports["slower"]
    low, high, refused = slower.shifts[0], slower.shifts[-2], slower.shifts[-1]
    shifts = (
        replace(low, quantile=0.5, ratio=1.0, interval=replace(low.interval, low=0.9, high=1.1)),
        replace(high, quantile=0.9, ratio=1.5, interval=replace(high.interval, low=1.2, high=1.9)),
        replace(refused, quantile=0.999, arm_ms=refused.baseline_ms * 3, ratio=3.0, interval=None),
    )
    report = replace(slower, shifts=shifts)
    assert findings.shift_sentence(report) == (
        "candidate is slower at p90; the largest change is +50.0% at p90."
    )
    assert findings.shifts(report).rows[-1][-2:] == (DASH, DASH)
    unknown = replace(report, shifts=shifts[2:])
    assert findings.shift_sentence(unknown) == (
        "candidate is not told apart from the baseline at any percentile."
    )
    made = html.render(replace(unknown, over_time=None))
    where = made[made.index('id="where"') : made.index('id="whole"')]
    assert "<figure>" not in where
    assert "<td>candidate</td>" in where
