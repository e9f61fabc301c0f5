"""Streams of random numbers that do not disturb one another."""

import numpy as np


def generator(seed: int, *label: str | int) -> np.random.Generator:
    """Return the stream of a part of the endpoint, such as ("variants", "blue", 1).

    Streams of different labels are independent, so that one more variant, or another rate of one,
    leaves the draws of the others as they were.
    """
    text = "/".join(map(str, label)).encode()
    return np.random.default_rng([seed, *text])
