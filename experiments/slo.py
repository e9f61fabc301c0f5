"""The plan's [slo]: what is asked of each arm, as shares of requests that may miss a limit."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from experiments.units import (
    Name,
    PositiveSeconds,
    Seconds,
    Share,
    Table,
    is_of_first_byte,
    quantile_of,
)

ERROR_RATE = "error_rate"
_SLOWEST_MS = 1e3
"""Taken for the slowest answer where the SLO limits failures only."""


class Objectives(Table):
    """Limits such as p99 = "300ms", for any percentile, and error_rate = "0.1%".

    Of a stream ttfb_p99 limits the time to the first byte, and p99 that of the whole.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PositiveSeconds] = Field(init=False)

    error_rate: Share | None = None

    @property
    def by_metric(self) -> dict[str, float]:
        """Each metric's limit: seconds for a percentile, a share for the error rate."""
        rate = {} if self.error_rate is None else {ERROR_RATE: self.error_rate}
        return {**(self.__pydantic_extra__ or {}), **rate}

    @model_validator(mode="before")
    @classmethod
    def _metrics_are_known(cls, table: object) -> object:
        given = table if isinstance(table, dict) else {}
        for metric in sorted(set(given) - set(cls.model_fields)):
            if quantile_of(metric) is None:
                near = difflib.get_close_matches(metric, [*cls.model_fields, "p50", "p99"], n=1)
                raise ValueError(
                    f'"{metric}" is no key of this table, and no percentile such as p99'
                    + (f'; did you mean "{near[0]}"?' if near else "")
                )
            if isinstance(given[metric], dict):  # what TOML makes of p99.9 without quotes
                raise ValueError(f'write a percentile with a point in quotes: "{metric}.9"')
        return table


class Slo(Objectives):
    """What every arm must keep over all that is measured; an arm or a phase may have its own."""

    window: PositiveSeconds | None = None
    """Where given, every stretch of this length must keep it too."""
    abort_on_fail: bool = False
    """Stop the run when what remains of it can no longer mend a limit that was broken."""
    abort_after: Seconds = 10.0
    """How far into the measured phase that may happen at the earliest."""
    arms: dict[Name, Objectives] = Field(default_factory=dict)
    phases: dict[Name, Objectives] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        tables: list[Objectives] = [self, *self.arms.values(), *self.phases.values()]
        if not any(table.by_metric for table in tables):
            raise ValueError('there is no limit; give one such as p99 = "300ms"')
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """At most the share `allowed` of an arm's requests may miss a limit.

    A request misses a latency limit unless a good answer came within `limit_ms`, or of a stream
    its first byte where the metric is of that: one that failed or was dropped misses every one.
    `limit_ms` is `None` for the error rate, which a request misses by failing or being dropped.
    `phase` is `None` for all that is measured. With `window_s`, the share must not be passed in any
    stretch of that length.
    """

    arm: str
    phase: str | None
    metric: str
    limit_ms: float | None
    allowed: float
    window_s: float | None = None


def thresholds(slo: Slo, arms: Iterable[str]) -> tuple[Threshold, ...]:
    """List what must be kept: the general limits, which an arm's own replace, and each phase's."""
    found = []
    for arm in arms:
        own = slo.arms[arm].by_metric if arm in slo.arms else {}
        scopes: dict[str | None, dict[str, float]] = {None: {**slo.by_metric, **own}}
        scopes |= {phase: limits.by_metric for phase, limits in slo.phases.items()}
        found += [
            _threshold(arm, phase, metric, limit, window_s)
            for phase, limits in scopes.items()
            for metric, limit in limits.items()
            for window_s in ([None] if slo.window is None else [None, slo.window])
        ]
    return tuple(found)


def slowest_ms(limits: Iterable[Threshold]) -> float | None:
    """Say how long a good answer may take; `None`: limits of the first byte leave that open."""
    timed = [(each.metric, each.limit_ms) for each in limits if each.limit_ms is not None]
    of_whole = [limit_ms for metric, limit_ms in timed if not is_of_first_byte(metric)]
    return max(of_whole, default=None if timed else _SLOWEST_MS)


def _threshold(
    arm: str, phase: str | None, metric: str, limit: float, window_s: float | None
) -> Threshold:
    quantile = quantile_of(metric)
    return Threshold(
        arm=arm,
        phase=phase,
        metric=metric,
        limit_ms=None if quantile is None else limit * 1e3,
        # Rounded, since 1 - 0.999 is not 0.001 in binary.
        allowed=limit if quantile is None else round(1 - quantile, 9),
        window_s=window_s,
    )
