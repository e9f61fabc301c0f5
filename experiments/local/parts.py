"""Several models, containers or inference components behind one variant, told apart by a header."""

from collections.abc import Mapping

from experiments.local import config
from experiments.local.backend import Asked, Backend, Reply
from experiments.local.clock import Clock
from experiments.local.service_error import ServiceError, validation_error

TARGET_MODEL = "x-amzn-sagemaker-target-model"
MEMBERS = {
    TARGET_MODEL: "TargetModel",
    "x-amzn-sagemaker-target-container-hostname": "TargetContainerHostname",
    "x-amzn-sagemaker-inference-component": "InferenceComponentName",
}


def told_by(variant: config.Variant) -> str | None:
    """Return the header that tells a variant's parts apart; `None`: it has none."""
    kinds = (variant.models, variant.containers, variant.components)
    return next((header for header, has in zip(MEMBERS, kinds, strict=True) if has), None)


def taken(variant: config.Variant) -> str | None:
    """Return which of these headers may come with a call of a variant."""
    # Behind a URL there may be a server of several models.
    return TARGET_MODEL if variant.url is not None else told_by(variant)


class Parts:
    """One instance of a variant with parts. Of `models`, the first call of each loads it.

    The first call waits, and those that come meanwhile are answered with ModelNotReadyException, as
    is the first where it would wait beyond `limit_s`.
    """

    def __init__(
        self, variant: config.Variant, parts: Mapping[str, Backend], clock: Clock, limit_s: float
    ) -> None:
        self._header = told_by(variant)
        self._tables = variant.parts
        self._parts = parts
        self._clock = clock
        self._limit_s = limit_s
        self._loaded_at_s: dict[str, float] = {}

    def outstanding(self, at_s: float) -> int:
        """Count the requests of all parts that are not done."""
        return sum(part.outstanding(at_s) for part in self._parts.values())

    async def invoke(self, asked: Asked) -> Reply:
        """Answer by the part that the request names."""
        assert self._header is not None
        name = asked.headers.get(self._header)
        if name is None or name not in self._parts:
            raise validation_error(
                f"{MEMBERS[self._header]} must be one of {', '.join(self._parts)}; "
                + ("it is missing." if name is None else f"it is {name}.")
            )
        waited_s = await self._load(name, asked.at_s)
        headers = dict(asked.headers)
        if self._header != TARGET_MODEL:  # which only a server of several models gets to see
            del headers[self._header]
        reply = await self._parts[name].invoke(
            asked._replace(headers=headers, at_s=asked.at_s + waited_s)
        )
        return reply._replace(wait_s=reply.wait_s + waited_s)

    async def _load(self, name: str, at_s: float) -> float:
        """Load a part that no call has asked for yet; return how long the call waited for it."""
        load_s = self._tables[name].load
        is_first = name not in self._loaded_at_s
        loaded_at_s = self._loaded_at_s.setdefault(name, at_s + load_s)
        if at_s >= loaded_at_s:
            return 0.0
        if is_first:
            await self._clock.sleep_until(min(loaded_at_s, at_s + self._limit_s))
            if load_s <= self._limit_s:
                return load_s
        raise ServiceError(
            429, "ModelNotReadyException", f"{name} is being loaded. Wait, and try again."
        )
