"""Faults on a schedule or by chance: which of them strikes a request. Pure, in virtual time."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.local.seeded import generator
from experiments.local.windows import Schedule, Windows
from experiments.units import Name, PositiveSeconds, Share

_PARAMETERS = {
    "model_error": {"status"},
    "service_error": {"status"},
    "throttle": {"above"},
    "spike": {"delay"},
    "slow_body": {"delay"},
}
NOT_SERVED = frozenset({"service_error", "throttle", "dead_instance"})
"""The kinds that answer for an instance, which never sees the request."""

FAILING = NOT_SERVED | {"model_error", "reset", "cut_body", "wrong_bytes"}
"""The kinds that leave a client without its answer."""

SERVICE_ERRORS = {
    429: "ModelNotReadyException",
    500: "InternalFailure",
    503: "ServiceUnavailable",
    530: "InternalDependencyException",
}
"""The errors of the service itself, by HTTP status."""

STREAM_ERRORS = {
    "model_stream_error": "ModelStreamError",
    "internal_stream_failure": "InternalStreamFailure",
}
"""What ends a streamed answer after its first part, by kind of fault; a whole answer it leaves."""


class Fault(Schedule):
    """One kind of fault, when it is on, and which of the requests it strikes then."""

    kind: Literal[
        "model_error",
        "service_error",
        "throttle",
        "spike",
        "dead_instance",
        "reset",
        "slow_body",
        "cut_body",
        "closed_keep_alive",
        "wrong_bytes",
        "no_variant",
        "model_stream_error",
        "internal_stream_failure",
    ]
    share: Share | None = None
    """Of the requests that it can strike; without it, all."""
    variant: Name | None = None
    instance: PositiveInt | None = None
    """Counted from 1."""
    status: int | None = Field(default=None, ge=400, le=599)
    above: PositiveFloat | None = None
    """Requests a second that are let through; after a quiet time a second's worth at once."""
    delay: PositiveSeconds | None = None

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Self:
        needed = _PARAMETERS.get(self.kind, set())
        given = self.model_fields_set & {"status", "above", "delay"}
        if given != needed:
            raise ValueError(
                f'kind = "{self.kind}" needs {" and ".join(needed) or "none of them"} of status, '
                f"above and delay; it has {' and '.join(sorted(given)) or 'none'}"
            )
        if self.kind == "service_error" and self.status not in SERVICE_ERRORS:
            known = ", ".join(map(str, SERVICE_ERRORS))
            raise ValueError(f"the status of a service_error is one of {known}")
        if self.instance is not None and self.variant is None:
            raise ValueError("instance needs variant, whose instance it is")
        return self


class Faults:
    """The faults of an endpoint, in the order of its file; the first that strikes is the one."""

    def __init__(self, tables: Sequence[Fault], seed: int) -> None:
        self._sources = [_Source(table, seed, number) for number, table in enumerate(tables, 1)]

    def strike(self, at_s: float, variant: str, instance: int) -> Fault | None:
        """Return what strikes the request at `at_s` to an instance, counted from 0, of a variant.

        Each request is asked for once, in the order of their times.
        """
        striking = (one.table for one in self._sources if one.strikes(at_s, variant, instance))
        return next(striking, None)


class _Source:
    def __init__(self, table: Fault, seed: int, number: int) -> None:
        self.table = table
        self._windows = Windows(table, generator(seed, "faults", number, "times"))
        self._chance = generator(seed, "faults", number, "share")
        self._most = self._allowance = max(table.above or 0.0, 1.0)
        self._counted_at_s = 0.0

    def strikes(self, at_s: float, variant: str, instance: int) -> bool:
        table = self.table
        return (
            table.variant in (None, variant)
            and table.instance in (None, instance + 1)
            and self._windows.around(at_s)[0]
            and not (table.above is not None and self._is_allowed(at_s, table.above))
            and (table.share is None or self._chance.random() < table.share)
        )

    def _is_allowed(self, at_s: float, above: float) -> bool:
        """Take one from the allowance, which grows evenly up to that of a second."""
        grown = self._allowance + (at_s - self._counted_at_s) * above
        self._allowance = min(grown, self._most)
        self._counted_at_s = at_s
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True
