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


@dataclass(frozen=True, slots=True)
class Assignment:
    """Arm, payload and group of each request; arrays of shape (n,).

    `arm` indexes the plan's arms in their order, or is -1 where the endpoint routes. `group` ties
    the requests of one pair, or is -1.
    """

    arm: NDArray[np.int16]
    payload: NDArray[np.int32]
    group: NDArray[np.int64]


def assign(plan: Plan, requests: int, payloads: int) -> Assignment:
    """Assign the first `requests` requests of the schedule over `payloads` payloads."""
    if plan.traffic.routing == "paired":
        arms = len(plan.arms)
        groups = -(-requests // arms)
        arm = _permuted_blocks(np.arange(arms), groups * arms, plan.seed)
        group = np.repeat(np.arange(groups, dtype=np.int64), arms)
        payload = np.repeat(_payload_rounds(payloads, groups, plan.seed), arms)
        return Assignment(arm[:requests], payload[:requests], group[:requests])
    none = np.full(requests, _NO_ARM, dtype=np.int64)
    payload = _payload_rounds(payloads, requests, plan.seed)
    if plan.traffic.routing == "weighted":
        return Assignment(none.astype(np.int16), payload, none)
    shares = [arm.share for arm in plan.arms.values()]
    arm = _permuted_blocks(_block(shares), requests, plan.seed)
    return Assignment(arm, payload, none)


def _block(shares: list[float]) -> NDArray[np.int64]:
    """Give the smallest block of arm indices that holds each arm by its share."""
    parts = [Fraction(share / sum(shares)).limit_denominator(_LARGEST_BLOCK) for share in shares]
    size = min(lcm(*(part.denominator for part in parts)), _LARGEST_BLOCK)
    counts = [max(1, round(part * size)) for part in parts]
    return np.repeat(np.arange(len(shares)), counts)


def _permuted_blocks(block: NDArray[np.int64], length: int, seed: int) -> NDArray[np.int16]:
    # Drawn row by row from one stream, the first rows do not depend on how many rows follow.
    rows = -(-length // len(block))
    rng = np.random.default_rng([seed, _ARM_STREAM])
    order = np.argsort(rng.random((rows, len(block))), axis=1, kind="stable")
    return block[order].reshape(-1)[:length].astype(np.int16)


def _payload_rounds(payloads: int, length: int, seed: int) -> NDArray[np.int32]:
    rounds = -(-length // payloads)
    rng = np.random.default_rng([seed, _PAYLOAD_STREAM])
    order = [rng.permutation(payloads) for _ in range(rounds)]
    flat = np.concatenate(order) if order else np.empty(0)
    return flat[:length].astype(np.int32)
