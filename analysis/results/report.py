"""All that an analysis found: frozen values, and at the same time the schema of report.json."""

from dataclasses import dataclass
from typing import Literal

from analysis.results.capacity import Capacity
from analysis.results.comparison import Answers, Difference, ShiftPoint
from analysis.results.run import ArmSummary, Check, ErrorKind, RunInfo, RunValues, SloResult
from analysis.results.seen import CloudWatch, OverTime, WhoAnswered

SCHEMA_VERSION = 1

State = Literal["better", "worse", "same", "met", "broken", "undecided", "untrusted"]
"""What a verdict is: of a comparison, or of an SLO (met or broken)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence, what else belongs to it, and one exit code."""

    state: State
    validity: Literal["VALID", "SUSPECT", "INVALID"]
    sentence: str
    context: tuple[str, ...]
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a renderer needs, and all of report.json."""

    schema_version: int
    question: Literal["compare", "capacity", "regression", "load"]
    run: RunInfo
    verdict: Verdict
    checks: tuple[Check, ...]
    arms: tuple[ArmSummary, ...]
    differences: tuple[Difference, ...]
    shifts: tuple[ShiftPoint, ...]
    slo: tuple[SloResult, ...]
    answers: Answers | None
    errors: tuple[ErrorKind, ...]
    method: tuple[str, ...]
    cannot_tell: tuple[str, ...]
    capacity: Capacity | None = None
    runs: tuple[RunValues, ...] = ()
    """Where several runs are judged together: the numbers of each."""
    cloudwatch: CloudWatch | None = None
    over_time: OverTime | None = None
    who_answered: WhoAnswered | None = None
