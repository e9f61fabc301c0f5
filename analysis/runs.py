"""Several runs as one experiment: each gives one number a metric, and the runs are the sample.

The requests of a run share its luck, the machine, the hour and the deployment, however many there
are; only other runs show how much of a difference is luck (Kalibera and Jones, 2013, Rigorous
benchmarking in reasonable time). Latencies are compared on a log scale, where a ratio is a sum.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from analysis.error_rates import newcombe
from analysis.noise import Precision, precision
from analysis.read import Run
from analysis.render.format import counted, few
from analysis.results.comparison import Difference
from analysis.results.run import Check
from analysis.results.values import Estimate, Measure, estimate
from analysis.samples import latencies_ms, measures_of
from analysis.validity import check_run
from analysis.windows import Floats
from experiments.errors import RunFolderError
from experiments.units import quantile_of

ERROR_RATE = "error_rate"
Design = Literal["blocks", "separate"]
"""blocks: both arms in each run, compared run by run. separate: each run is of one arm."""
_WORST = ("ok", "warn", "fail")
_NO_SPREAD = 1e-9
"""Of log latency. Clocks alone make runs differ by more; smaller is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmRun:
    """What one arm did in one run.

    `latencies_ms` are those of each measure that the run has, and `known_to_ms` below which of them
    every one is known. `unassigned` counts failures of the run that may be of this arm or of
    another.
    """

    sent: int
    failed: int
    latencies_ms: Mapping[Measure, Floats]
    known_to_ms: Mapping[Measure, float]
    unassigned: int = 0

    def number(self, metric: str, measure: Measure) -> float | None:
        """Give the run's one number: a latency in milliseconds, or a share; `None`: not known."""
        if metric == ERROR_RATE:
            return self.failed / self.sent if self.sent and not self.unassigned else None
        values, quantile = self.latencies_ms.get(measure), quantile_of(metric)
        if values is None or not values.size:
            return None
        if quantile is None:
            found = float(values.mean())
        else:
            found = float(np.quantile(values, quantile, method="inverted_cdf"))
        return found if 0 < found < self.known_to_ms[measure] else None

    def beyond(self, metric: str, measure: Measure) -> int:
        """Count the requests beyond a percentile; of a mean, all."""
        size = self.latencies_ms.get(measure, np.empty(0)).size
        quantile = quantile_of(metric)
        # Rounded, since 1 - 0.9 is not 0.1 in binary.
        return size if quantile is None else int(round(size * min(quantile, 1 - quantile), 6))


def arm_run(run: Run, arm: str) -> ArmRun:
    """Take what an arm did from a run's records."""
    rows = run.measured
    sent = rows[rows["outcome"] != "dropped"]
    failed = sent["outcome"] != "ok"
    own = sent["arm"] == arm
    found = {measure: latencies_ms(sent[own], measure) for measure in measures_of(run)}
    return ArmRun(
        sent=int(own.sum()),
        failed=int((own & failed).sum()),
        latencies_ms={measure: values for measure, (values, _) in found.items()},
        known_to_ms={measure: known_to for measure, (_, known_to) in found.items()},
        unassigned=int((failed & sent["arm"].isna()).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One side of a comparison: runs, each with the arm that it gives, and what that arm did."""

    name: str
    of: tuple[tuple[Run, str], ...]
    numbers: tuple[ArmRun, ...]

    @property
    def rows(self) -> pd.DataFrame:
        """The measured requests of all runs, under this side's name."""
        parts = [rows[rows["arm"] == arm] for rows, arm in ((r.measured, a) for r, a in self.of)]
        return pd.concat(parts, ignore_index=True).assign(arm=self.name)


def side(name: str, of: Sequence[tuple[Run, str]]) -> Side:
    """Make a side from runs, each with the arm that it gives."""
    return Side(name=name, of=tuple(of), numbers=tuple(arm_run(run, arm) for run, arm in of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A mean difference over runs, with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: int

    def interval(self, level: float) -> tuple[float, float]:
        """Give Student's two-sided interval."""
        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """Give Student's two-sided p-value of no difference."""
        if self.error == 0:
            return float(self.value == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.value / self.error)))


def change(baseline: ArrayLike, arm: ArrayLike, design: Design) -> Change:
    """Compare the runs' numbers: by the paired t-test in blocks, else by that of pooled variance.

    Two blocks or three runs are the fewest that show a spread.
    """
    a, b = np.asarray(baseline, dtype=np.float64), np.asarray(arm, dtype=np.float64)
    if design == "blocks":
        d = b - a
        error = float(d.std(ddof=1)) / math.sqrt(d.size)
        return Change(value=float(d.mean()), error=error, freedom=d.size - 1)
    freedom = a.size + b.size - 2
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    error = math.sqrt(squares / freedom * (1 / a.size + 1 / b.size))
    return Change(value=float(b.mean() - a.mean()), error=error, freedom=freedom)


def difference(
    baseline: Side,
    arm: Side,
    metric: str,
    measure: Measure,
    design: Design,
    margin: float | None,
    refusal: str | None = None,
) -> Difference:
    """Compare two sides in one metric; it is not called yet, except where it is refused.

    With a `refusal`, which says why the runs are too few, the values are given and nothing else.
    `tail_requests` is that of all runs of the side that has fewer; a verdict needs as many as in
    one run.
    """
    runs = baseline.numbers, arm.numbers
    sides = [[run.number(metric, measure) for run in side] for side in runs]
    before, after = (np.array([v for v in side if v is not None]) for side in sides)
    is_share = metric == ERROR_RATE
    if is_share:
        tail = sum(run.failed for side in runs for run in side)
        carries: Precision = "enough"
    else:
        tail = min(sum(run.beyond(metric, measure) for run in side) for side in runs)
        carries = precision(tail)
    unknown = sum(value is None for side in sides for value in side)
    if refusal is None and unknown:
        refusal = f"{counted(unknown, 'run')} gave no {metric}: it reaches requests that timed out "
        refusal += "or failures that name no arm, or is of first bytes where answers came whole."
    if refusal is None and carries == "refused":
        lie = "lies" if tail < 2 else "lie"
        refusal = f"{few(tail, 'request')} of a side {lie} beyond {metric}, over all its runs."
    ratio = apart = p_value = None
    if refusal is None and is_share:
        apart, p_value = _error_rates(*runs, change(before, after, design))
    elif refusal is None:
        found = change(np.log(before), np.log(after), design)
        if found.error < _NO_SPREAD:
            refusal = f"The runs do not differ in {metric} at all, as copies of one run would not."
        else:
            ratio, p_value = _ratio(found), found.p_value
    means = [_mean(side, is_share=is_share) for side in (before, after)]
    return Difference(
        arm=arm.name,
        baseline=baseline.name,
        metric=metric,
        measure="outcome" if is_share else measure,
        unit="share" if is_share else "ms",
        baseline_value=means[0],
        arm_value=means[1],
        ratio=ratio,
        difference=apart,
        margin=margin,
        tail_requests=tail,
        precision=carries if refusal is None else "refused",
        call="undecided" if refusal is None else "refused",
        p_value=p_value,
        reason=refusal,
    )


def _mean(values: Floats, *, is_share: bool) -> float | None:
    if not values.size:
        return None
    return float(values.mean()) if is_share else math.exp(float(np.log(values).mean()))


def _ratio(found: Change) -> Estimate:
    def ends(level: float) -> tuple[float, float]:
        low, high = found.interval(level)
        return math.exp(low), math.exp(high)

    return estimate(math.exp(found.value), ends)


def _error_rates(
    baseline: Sequence[ArmRun], arm: Sequence[ArmRun], over_runs: Change
) -> tuple[Estimate, float]:
    """Take the wider of what runs show and what independent requests would.

    Runs without any failure do not differ, and would otherwise show a certainty that so few
    requests do not carry. The second interval is Newcombe's (1998, method 10).
    """
    failed = sum(run.failed for run in baseline), sum(run.failed for run in arm)
    sent = sum(run.sent for run in baseline), sum(run.sent for run in arm)

    def ends(level: float) -> tuple[float, float]:
        (low, high), (least, most) = over_runs.interval(level), newcombe(failed, sent, level)
        return max(min(low, least), -1.0), min(max(high, most), 1.0)

    exact = 1.0
    if sum(failed):
        from scipy.stats import binomtest  # slow to import, and few runs come here

        exact = binomtest(failed[1], sum(failed), sent[1] / sum(sent)).pvalue
    return estimate(over_runs.value, ends), max(float(exact), over_runs.p_value)


def completed(runs: Sequence[Run]) -> tuple[tuple[Run, ...], Check]:
    """Leave out the runs that did not come to their end, and say so.

    Only a run that someone interrupted may be missed: one that ended by itself may have done so
    for what is asked about, so the check fails.

    Raises:
        RunFolderError: none came to its end, or one is given twice.
    """
    (most, times), *_ = Counter(run.id for run in runs).most_common(1) or [("", 0)]
    if times > 1:
        raise RunFolderError(f"{most} is given {times} times.", "Give each run once.")
    kept = tuple(run for run in runs if run.manifest["ended_as"] == "complete")
    endings = {run.id: str(run.manifest["ended_as"]) for run in runs if run not in kept}
    left = [f"{run_id} ({ending})" for run_id, ending in endings.items()]
    if not kept:
        raise RunFolderError(
            f"None of {', '.join(left) or 'the runs'} came to its end.", "Make the runs again."
        )
    title = "Runs complete"
    if not left:
        said = f"{counted(len(kept), 'run')} of {len(kept)} came to the planned end"
        return kept, Check("runs", title, "ok", said)
    said = f"{len(left)} of {len(runs)} are left out: {', '.join(left)}"
    if set(endings.values()) == {"interrupted"}:
        return kept, Check("runs", title, "warn", said, "Make them again.")
    step = "See why in their logs: a run must not be missed for what ended it. Make them again."
    return kept, Check("runs", title, "fail", said, step)


def check_runs(runs: Sequence[Run]) -> tuple[Check, ...]:
    """Make every check of every run; each is given once, with the worst that was found."""
    found: dict[str, list[tuple[str, Check]]] = {}
    for run in runs:
        for check in check_run(run):
            found.setdefault(check.name, []).append((run.id, check))
    checks = []
    for name, of_runs in found.items():
        where, worst = max(of_runs, key=lambda pair: _WORST.index(pair[1].state))
        odd = sum(check.state != "ok" for _, check in of_runs)
        said = f"in {counted(len(of_runs), 'run')} of {len(of_runs)}"
        if odd:
            said = f"not in {odd} of {counted(len(of_runs), 'run')}; in {where}: {worst.finding}"
        checks.append(Check(name, worst.title, worst.state, said, worst.next_step))
    return tuple(checks)
