"""Which arm a request is of that was assigned to none: its parameters tell, and who answers."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.invocation import parameters_of_arm
from experiments.plan import Plan

_MAY_TELL = ("TargetVariant", "InferenceComponentName", "TargetModel", "TargetContainerHostname")

ArmOf = Callable[[Mapping[str, Any], str | None], str | None]
"""From boto3's parameters and the variant that answered to the arm; `None`: it is of none."""


def arm_teller(plan: Plan) -> ArmOf:
    """Make the function that names the arm whose parameters a request carries.

    Or would carry, had it been pinned to the variant that answered.
    """
    of_arm = {arm: parameters_of_arm(plan, arm) for arm in plan.arms}
    differing = (key for key in _MAY_TELL if len({of.get(key) for of in of_arm.values()}) > 1)
    telling = ("EndpointName", *differing)

    def told_by(parameters: Mapping[str, Any]) -> tuple[str | None, ...]:
        # What a locustfile passes may be anything, and boto3 refuses what is no text.
        values = [parameters.get(key) for key in telling]
        return tuple([value if isinstance(value, str) else None for value in values])

    known = {told_by(parameters): arm for arm, parameters in of_arm.items()}

    def arm_of(parameters: Mapping[str, Any], invoked: str | None) -> str | None:
        arm = known.get(told_by(parameters)) or known.get(
            told_by({"TargetVariant": invoked, **parameters})
        )
        # Of an endpoint's variants one may be the only arm, and then nothing tells it from another.
        variant = None if arm is None else plan.variant_of(arm)
        asked = invoked or parameters.get("TargetVariant")
        return None if variant and asked and asked != variant else arm

    return arm_of
