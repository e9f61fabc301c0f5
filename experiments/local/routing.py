"""Which variant and which of its instances a request goes to, and what fault strikes it there."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple, Protocol
from zlib import crc32

import numpy as np

from experiments.local import config
from experiments.local.faults import Fault, Faults
from experiments.local.fleet import Size, stated
from experiments.local.seeded import generator
from experiments.local.service_error import validation_error


class Queue(Protocol):
    """What an instance is to its router."""

    def outstanding(self, at_s: float) -> int:
        """Count its requests that are not done."""
        ...


class Route(NamedTuple):
    """Where a request goes; instances are counted from 0."""

    variant: str
    instance: int
    fault: Fault | None


class Router:
    """Routes the requests of one endpoint to the `queues` of its variants; in virtual time.

    The first of them are open, by the `sizes` at the time; without these, as the file states.
    """

    def __init__(
        self,
        endpoint: config.Endpoint,
        queues: Mapping[str, Sequence[Queue]],
        sizes: Mapping[str, Size] | None = None,
    ) -> None:
        variants, seed = endpoint.variants, endpoint.seed
        self._variants = variants
        self._queues = queues
        self._sizes = stated(variants) if sizes is None else sizes
        self._variant_draws = generator(seed, "variant")
        self._draws = {name: generator(seed, "variants", name, "instance") for name in variants}
        self._faults = Faults(endpoint.faults, seed)

    def route(
        self,
        at_s: float,
        target: str | None,
        *,
        prefix: str | None = None,
        instance: int | None = None,
    ) -> Route:
        """Route the request that arrives at `at_s`; times must ascend.

        With PREFIX_AWARE, those of one `prefix` go to one instance. A session has its `instance`.
        """
        if target is not None and target in self._sizes:
            variant = target  # known without the weights of all, which simulations ask for often
        else:
            weights = {name: size.weight for name, size in self._sizes.items()}
            variant = choose(weights, target, self._variant_draws)
        strategy = self._variants[variant].routing
        queues = self._queues[variant][: self._sizes[variant].instances]
        if prefix is not None:
            if strategy != "PREFIX_AWARE":
                raise validation_error(f"PrefixAwareId needs PREFIX_AWARE, which {variant} is not.")
            instance = crc32(prefix.encode()) % len(queues) if instance is None else instance
        if instance is None or instance >= len(queues):
            instance = choose_instance(queues, strategy, at_s, self._draws[variant])
        return Route(variant, instance, self._faults.strike(at_s, variant, instance))


def choose(weights: Mapping[str, float], target: str | None, generator: np.random.Generator) -> str:
    """Return `target` if given, else a variant drawn with probability weight / sum of weights."""
    if target is None:
        names = [name for name, weight in weights.items() if weight > 0]
        cumulative = list(accumulate(weights[name] for name in names))
        draw = generator.random() * cumulative[-1]
        return names[bisect_right(cumulative, draw, hi=len(names) - 1)]
    if target not in weights:
        raise validation_error(f"Variant {target} not found. It is none of {', '.join(weights)}.")
    return target


def choose_instance(
    queues: Sequence[Queue],
    strategy: Literal["RANDOM", "LEAST_OUTSTANDING_REQUESTS", "PREFIX_AWARE"],
    at_s: float,
    generator: np.random.Generator,
) -> int:
    """Return one of the instances, by SageMaker's RoutingStrategy; among equals one at random.

    PREFIX_AWARE, of a request without a prefix, is LEAST_OUTSTANDING_REQUESTS.
    """
    if len(queues) == 1:
        return 0
    if strategy == "RANDOM":
        return int(generator.random() * len(queues))
    counts = [queue.outstanding(at_s) for queue in queues]
    least = min(counts)
    places = [place for place, count in enumerate(counts) if count == least]
    return places[int(generator.random() * len(places))] if len(places) > 1 else places[0]
