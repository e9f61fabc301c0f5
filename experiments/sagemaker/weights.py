"""Gives an endpoint the weights of a plan's arms, and afterwards those that it had.

UpdateEndpointWeightsAndCapacities returns at once, and the weights hold when DescribeEndpoint says
that the current ones are the desired ones and that the endpoint is InService.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import botocore.exceptions as failures

from experiments import restore as journals
from experiments.errors import EndpointError
from experiments.plan import Plan
from experiments.restore import Journal
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import client_for
from experiments.sagemaker.redacted import said

SETTLES_WITHIN_S = 1200.0
_UNANSWERED_S = 60.0
"""How long a control plane that did answer may fail to, before waiting for it is given up."""
_MOST_BETWEEN_S = 10.0
_STALE_S = 5.0
"""How long DescribeEndpoint may still give what was before a change."""
_ATTEMPTS = 5

Weights = dict[str, float]
Say = Callable[[str], object]


def ask(folder: RunFolder, plan: Plan, say: Say) -> bool:
    """Write down the endpoint's weights, and ask for those of the plan's arms.

    Where the weights are in proportion already nothing is asked, and the answer is `False`.

    Raises:
        EndpointError: the endpoint is being updated, has the weights of another run, or a variant
            with weight that is no arm; or it refuses.
    """
    name = plan.endpoint.name
    journals.refuse_unrestored(journals.out_of(folder), plan.endpoint)
    client = client_for(plan.endpoint, "sagemaker", attempts=_ATTEMPTS)
    found = _described(client, name)
    before, status = _desired(found), found["EndpointStatus"]
    if status != "InService":
        raise EndpointError(
            f'The endpoint "{name}" is {status}: its weights cannot be set now.',
            "Wait until it is InService.",
        )
    shares = {plan.variant_of(arm) or arm: each.share for arm, each in plan.arms.items()}
    others = [variant for variant, weight in before.items() if weight and variant not in shares]
    if others:
        raise EndpointError(
            f'traffic.set_weights: the variant "{others[0]}" has the weight {before[others[0]]:g} '
            "and is no arm of the plan; it would take a share of the requests.",
            f"Add it as [arms.{others[0]}], or set its weight to 0 first.",
        )
    wanted = {**before, **shares}
    if _are_proportional(before, wanted):
        return False
    once = client_for(plan.endpoint, "sagemaker", attempts=1)
    journal = Journal(
        endpoint=plan.endpoint,
        region=str(client.meta.region_name),
        arn=found["EndpointArn"],
        before=before,
        wanted=wanted,
        state="asked",
    )
    journals.write(folder, journal)
    say(f"Setting the weights of {name} to {_words(wanted)}; they were {_words(before)}.")
    try:
        _update(once, name, wanted)
    except EndpointError as error:
        refusal = error.__cause__
        # After one attempt that was refused nothing of it is under way: no one is to put it back.
        if isinstance(refusal, failures.ClientError) and _status(refusal) < 500:
            (folder.path / journals.WEIGHTS).unlink()
        raise
    return True


def _status(refusal: failures.ClientError) -> int:
    return int(refusal.response["ResponseMetadata"].get("HTTPStatusCode", 500))


def await_set(folder: RunFolder, say: Say, within_s: float = SETTLES_WITHIN_S) -> None:
    """Wait until the weights that were asked for hold.

    Raises:
        EndpointError: they did not within `within_s`, or others were asked for meanwhile.
    """
    journal = journals.read(folder)
    assert journal is not None
    client = client_for(journal.target, "sagemaker", attempts=_ATTEMPTS)
    _settle(client, journal.target.name, journal.wanted, within_s)
    journals.write(folder, replace(journal, state="set"))
    say("The weights are set.")


def restore(
    folder: RunFolder, say: Say, *, force: bool = False, within_s: float = SETTLES_WITHIN_S
) -> None:
    """Put back the weights that a run found, and say what was done. It may be called again.

    Raises:
        EndpointError: the weights are someone else's, and `force` is not given; or the endpoint
            refuses, does not answer or settle, or is another one of that name.
    """
    journal = journals.read(folder)
    if journal is None:
        say(f"{folder.path}: the run set no weights.")
        return
    if journal.state == "restored":
        say(f"{folder.path}: the weights are put back already.")
        return
    if journal.target.target == "local" and "AWS_ENDPOINT_URL_SAGEMAKER" not in os.environ:
        say(f"{folder.path}: its local endpoint ended with the run, and its weights with it.")
        return
    try:
        _put_back(folder, journal, say, force=force, within_s=within_s)
    except (EndpointError, failures.BotoCoreError) as error:
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        leave = f"To leave its weights as they are, delete {folder.path / journals.WEIGHTS}."
        raise EndpointError(message, f"{hint} {leave}".lstrip()) from None
    journals.write(folder, replace(journal, state="restored"))


def _put_back(
    folder: RunFolder, journal: Journal, say: Say, *, force: bool, within_s: float
) -> None:
    name = journal.target.name
    client = client_for(journal.target, "sagemaker", attempts=_ATTEMPTS)
    found = _in_service(client, name, within_s)
    if found["EndpointArn"] != journal.arn:
        raise EndpointError(
            f"These credentials reach {found['EndpointArn']}, and the run {folder.path} set the "
            f"weights of {journal.arn}.",
            "Use credentials of that account (AWS_PROFILE).",
        )
    there = {v: weight for v, weight in _desired(found).items() if v in journal.before}
    before, wanted = ({v: each[v] for v in there} for each in (journal.before, journal.wanted))
    # What DescribeEndpoint says may be of before the run, however long that is over.
    if force or _are_equal(there, before) or _are_equal(there, wanted):
        say(f"Putting back the weights of {name}: {_words(before)}.")
        journals.write(folder, replace(journal, state="restoring"))
        _update_in_time(client, name, before, within_s)
        _settle(client, name, before, within_s)
        say("The weights are put back.")
    else:
        raise EndpointError(
            f"The weights of {name} are {_words(there)}: neither {_words(wanted)}, which "
            f"the run {folder.path} set, nor {_words(before)}, which it found. Someone else "
            "changed them.",
            f"abreast restore {folder.path} --force sets {_words(before)}.",
        )


def _update_in_time(client: Any, name: str, wanted: Weights, within_s: float) -> None:
    """Ask for weights, again where another change is under way that is not described yet."""
    deadline_s = time.monotonic() + _STALE_S
    while True:
        try:
            return _update(client, name, wanted)
        except EndpointError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(_STALE_S / 5)
        _in_service(client, name, within_s)


def _settle(client: Any, name: str, wanted: Mapping[str, float], within_s: float) -> None:
    deadline_s = time.monotonic() + _STALE_S
    while True:
        found = _in_service(client, name, within_s)
        there = [one for one in found["ProductionVariants"] if one["VariantName"] in wanted]
        desired, current = (
            {one["VariantName"]: one.get(key) for one in there}
            for key in ("DesiredWeight", "CurrentWeight")
        )
        if _are_equal(desired, wanted) and _are_equal(current, wanted):
            return
        if time.monotonic() > deadline_s:
            break
        time.sleep(_STALE_S / 5)
    raise EndpointError(
        f"The weights of {name} are {_words(_desired(found))}, but {_words(wanted)} were set. "
        f"{found.get('FailureReason', '')}".rstrip(),
        "Someone else may have changed them, or the update failed: see the endpoint's events.",
    )


def _in_service(client: Any, name: str, within_s: float) -> Any:
    """Wait until no update is under way, and give what DescribeEndpoint says then."""
    began_s = time.monotonic()
    answered_s: float | None = None
    pause_s = 0.25
    while True:
        status = "not described"
        try:
            found = _described(client, name)
            answered_s, status = time.monotonic(), found["EndpointStatus"]
            if status in ("InService", "Failed", "UpdateRollbackFailed", "OutOfService"):
                return found
        except EndpointError:
            if answered_s is None or time.monotonic() - answered_s > _UNANSWERED_S:
                raise
        if time.monotonic() - began_s > within_s:
            raise EndpointError(
                f"The endpoint {name} is {status} after {within_s:g} s.",
                "See the endpoint's events, and what its weights are.",
            )
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _MOST_BETWEEN_S)


def _described(client: Any, name: str) -> Any:
    try:
        return client.describe_endpoint(EndpointName=name)
    except (failures.ClientError, failures.BotoCoreError) as error:
        raise EndpointError(
            f'The endpoint "{name}" cannot be described: {said(error)}',
            "Check the region, the credentials, and that they allow sagemaker:DescribeEndpoint.",
        ) from None


def _update(client: Any, name: str, weights: Mapping[str, float]) -> None:
    try:
        client.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[
                {"VariantName": variant, "DesiredWeight": weight}
                for variant, weight in weights.items()
            ],
        )
    except (failures.ClientError, failures.BotoCoreError) as error:
        raise EndpointError(
            f'The weights of "{name}" cannot be set: {said(error)}',
            "Allow sagemaker:UpdateEndpointWeightsAndCapacities, or leave out "
            "traffic.set_weights and set them yourself.",
        ) from error


def _desired(found: Any) -> Weights:
    variants = found.get("ProductionVariants", [])
    return {one["VariantName"]: one.get("DesiredWeight", 0.0) for one in variants}


def _are_proportional(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    shares = [
        {name: weight / (sum(each.values()) or 1.0) for name, weight in each.items()}
        for each in (one, other)
    ]
    return _are_equal(*shares)


def _are_equal(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> bool:
    """Compare weights as the API holds them: as floating-point numbers of 32 bits."""
    return one.keys() == other.keys() and all(
        math.isclose(weight or 0.0, other[name] or 0.0, rel_tol=1e-6)
        for name, weight in one.items()
    )


def _words(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
