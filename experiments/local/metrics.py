"""What CloudWatch knows of the traffic served: samples a second, variant and metric."""

import time
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

COUNTS = ("Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors", "MidStreamErrors")
"""Metrics of which each request is one sample, 1 or 0."""

UNITS = dict.fromkeys(("ModelLatency", "OverheadLatency", "FirstChunkLatency"), "Microseconds")
UNITS |= dict.fromkeys(("Invocations", "InvocationsPerInstance", *COUNTS), "None")

Samples = NDArray[np.float64]


class _Second:
    __slots__ = (
        "counts",
        "first_chunk_us",
        "instances",
        "model_us",
        "overhead_us",
        "requests",
        "streams",
    )

    def __init__(self, instances: int) -> None:
        self.instances = instances
        self.requests = 0
        self.streams = 0
        self.counts = dict.fromkeys(COUNTS, 0)
        self.model_us = array("d")
        self.overhead_us = array("d")
        self.first_chunk_us = array("d")

    def samples(self, metric: str) -> Samples:
        match metric:
            case "ModelLatency":
                return np.array(self.model_us)
            case "OverheadLatency":
                return np.array(self.overhead_us)
            case "FirstChunkLatency":
                return np.array(self.first_chunk_us)
            case "Invocations":
                return np.ones(self.requests)
            case "InvocationsPerInstance":
                return np.full(self.requests, 1.0 / self.instances)
        is_of_streams = metric == "MidStreamErrors"
        values = np.zeros(self.streams if is_of_streams else self.requests)
        values[: self.counts[metric]] = 1.0
        return values


class Metrics:
    """The samples of one endpoint, kept as long as it runs.

    A request is of the second in which it ended, on the wall clock.
    """

    def __init__(self, variants: Iterable[str]) -> None:
        self._seconds: dict[str, dict[int, _Second]] = {name: {} for name in variants}

    def add(
        self,
        variant: str,
        instances: int,
        overhead_s: float | None,
        model_s: float | None,
        model_status: int | None,
        *,
        first_chunk_s: float | None = None,
        is_streamed: bool = False,
        is_broken: bool = False,
    ) -> None:
        """Count one request that has ended.

        `model_s` is `None` where no model was asked; its status is 0 where it gave no answer.
        `overhead_s` is `None` where it is not known. Streams count that have begun.
        """
        at = int(time.time())
        seconds = self._seconds[variant]
        second = seconds.get(at)
        if second is None:
            second = seconds[at] = _Second(instances)
        second.requests += 1
        if overhead_s is not None:
            second.overhead_us.append(overhead_s * 1e6)
        if model_s is not None:
            second.model_us.append(model_s * 1e6)
        if first_chunk_s is not None:
            second.first_chunk_us.append(first_chunk_s * 1e6)
        second.streams += is_streamed
        second.counts["MidStreamErrors"] += is_broken
        if model_status is not None and not 200 <= model_status < 300:
            second.counts["InvocationModelErrors"] += 1
            if 400 <= model_status < 500:
                second.counts["Invocation4XXErrors"] += 1
            elif model_status >= 500:
                second.counts["Invocation5XXErrors"] += 1

    def samples(
        self,
        metric: str,
        variants: Iterable[str],
        period_s: int,
        *,
        start_s: float,
        end_s: float,
        known_until_s: float,
    ) -> list[tuple[int, Samples]]:
        """Return the samples of each period that begins from `start_s` on and before `end_s`.

        Periods count from the whole minute of `start_s`; those without samples are left out, as is
        what ended at `known_until_s` or later.
        """
        first = int(start_s) // 60 * 60
        periods: dict[int, list[Samples]] = {}
        for variant in variants:
            for at, second in self._seconds.get(variant, {}).items():
                begins = at - (at - first) % period_s
                if first <= begins < end_s and at < known_until_s:
                    periods.setdefault(begins, []).append(second.samples(metric))
        whole = {at: np.concatenate(values) for at, values in sorted(periods.items())}
        return [(at, values) for at, values in whole.items() if values.size]


def statistic(name: str, samples: Samples) -> float:
    """Return one statistic by CloudWatch's name for it.

    Raises:
        ValueError: CloudWatch has it not, or this endpoint does not.
    """
    match name:
        case "SampleCount":
            return float(samples.size)
        case "Sum":
            return float(samples.sum())
        case "Average":
            return float(samples.mean())
        case "Minimum":
            return float(samples.min())
        case "Maximum":
            return float(samples.max())
    if name[:1] == "p":
        try:
            return float(np.percentile(samples, float(name[1:])))
        except ValueError:
            pass
    raise ValueError(
        f'The statistic "{name}" is none of SampleCount, Sum, Average, Minimum, Maximum and '
        "percentiles such as p99."
    )
