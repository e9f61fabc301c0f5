"""Which arm and which payload request i carries: pure functions of (seed, i).

Arms come in randomly permuted blocks, so that they are balanced within every short stretch of
time and share what the endpoint goes through. Payloads come in permuted rounds, each payload once
a round.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from experiments.plan import Plan

_ARM_STREAM = 0xA4
_PAYLOAD_STREAM = 0x9A
_LARGEST_BLOCK = 1000
_NO_ARM = -1
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Assignment:
    """Arm, payload and group of each request; arrays of shape (n,).

    `arm` indexes the plan's arms in their order, or is -1 where the endpoint routes. `group` ties
    the requests of one pair, or is -1.
    """

    arm: NDArray[np.int64]
    payload: NDArray[np.int64]
    group: NDArray[np.int64]


def assign(plan: Plan, requests: range, payloads: int) -> Assignment:
    """Assign these requests of the schedule, by their index, over `payloads` payloads."""
    if plan.traffic.routing == "paired":
        arms = len(plan.arms)
        first = requests.start // arms
        groups = range(first, -(-requests.stop // arms))
        payload = _permuted_blocks(np.arange(payloads), groups, plan.seed, _PAYLOAD_STREAM)
        within = slice(requests.start - first * arms, requests.stop - first * arms)
        return Assignment(
            _permuted_blocks(np.arange(arms), requests, plan.seed, _ARM_STREAM),
            np.repeat(payload, arms)[within],
            np.repeat(np.asarray(groups), arms)[within],
        )
    none = np.full(len(requests), _NO_ARM)
    payload = _permuted_blocks(np.arange(payloads), requests, plan.seed, _PAYLOAD_STREAM)
    if plan.traffic.routing == "weighted":
        return Assignment(none, payload, none)
    block = _block([arm.share for arm in plan.arms.values()])
    return Assignment(_permuted_blocks(block, requests, plan.seed, _ARM_STREAM), payload, none)


def _block(shares: list[float]) -> NDArray[np.int64]:
    """Give the smallest block of arm indices that holds each arm by its share."""
    parts = [Fraction(share / sum(shares)).limit_denominator(_LARGEST_BLOCK) for share in shares]
    size = min(lcm(*(part.denominator for part in parts)), _LARGEST_BLOCK)
    counts = [max(1, round(part * size)) for part in parts]
    return np.repeat(np.arange(len(shares)), counts)


def _permuted_blocks(
    block: NDArray[np.int64], wanted: range, seed: int, stream: int
) -> NDArray[np.int64]:
    """Give places `wanted` of an endless row of blocks, each permuted anew.

    Blocks are drawn by the chunk, each chunk from a stream of its own, so that any stretch can be
    had without what is before it.
    """
    rows = max(1, _CHUNK // len(block))
    size = rows * len(block)
    first = wanted.start // size
    chunks = [
        np.random.default_rng([seed, stream, chunk]).permuted(np.tile(block, (rows, 1)), axis=1)
        for chunk in range(first, -(-wanted.stop // size))
    ]
    places = np.concatenate(chunks).reshape(-1) if chunks else np.empty(0, dtype=np.int64)
    return places[wanted.start - first * size : wanted.stop - first * size]
