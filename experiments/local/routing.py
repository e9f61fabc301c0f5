"""Which variant answers a request: the one it names, or one drawn by weight."""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

import numpy as np

from experiments.local.service_error import validation_error


def choose(weights: Mapping[str, float], target: str | None, generator: np.random.Generator) -> str:
    """Return `target` if given, else a variant drawn with probability weight / sum of weights.

    Raises:
        ServiceError: `target` is none of the variants.
    """
    if target is None:
        names = [name for name, weight in weights.items() if weight > 0]
        cumulative = list(accumulate(weights[name] for name in names))
        draw = generator.random() * cumulative[-1]
        return names[bisect_right(cumulative, draw, hi=len(names) - 1)]
    if target not in weights:
        raise validation_error(f"Variant {target} not found. It is none of {', '.join(weights)}.")
    return target
