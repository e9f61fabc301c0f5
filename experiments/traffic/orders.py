"""What the master has a worker do, and what the worker makes of it.

A worker needs no plan and no payloads of its own, and asks nothing of the control plane.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments import fingerprint
from experiments.errors import AbreastError
from experiments.invocation import prediction_selector
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.plan_file import find, load
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import EndpointFacts
from experiments.share import Share
from experiments.traffic.messages import Orders, read
from experiments.traffic.prepare import Prepared, transport_of


def orders(prepared: Prepared, folder: RunFolder, share: Share) -> Orders:
    """Make the orders of the worker with this share."""
    trace_s = prepared.trace_s
    return Orders(
        run_id=folder.run_id,
        abreast=fingerprint.versions()["abreast"],
        folder=str(folder.path),
        plan=prepared.plan.model_dump(mode="json", exclude_none=True),
        payloads=tuple((each.body, dict(each.fields)) for each in prepared.payloads),
        trace_s=None if trace_s is None else trace_s.tobytes(),
        transport=prepared.transport_name,
        first_requests=len(prepared.cold),
        rank=share.rank,
        of=share.of,
        together=share.together,
    )


def understood(data: Mapping[str, Any]) -> Orders:
    """Read a master's orders."""
    version, of_master = fingerprint.versions()["abreast"], data.get("abreast")
    if version != of_master:
        raise AbreastError(
            f"It is abreast {version}, and the master is {of_master}.",
            "Install the same version on both.",
        )
    read_orders = read(Orders, data)
    if read_orders is None or read_orders.rank >= read_orders.of:
        raise AbreastError("Its orders make no sense.", "Check whose --master-host is.")
    return read_orders


def prepared_by(orders: Orders, own_plan: tuple[str, list[str]] | None) -> Prepared:
    """Make what requests need from orders; `own_plan` is the worker's own --plan and --set."""
    plan = Plan.model_validate(orders.plan)
    if own_plan is not None and load(find(own_plan[0]), own_plan[1]).model_dump() != (
        plan.model_dump()
    ):
        raise AbreastError(
            f"Its --plan {own_plan[0]} is another than the master's.",
            "Leave out --plan and --set on workers: the master sends its own.",
        )
    transport, name, why_not_fast = transport_of(plan)
    if name != orders.transport:
        raise AbreastError(
            f"Its requests would go by {name} ({why_not_fast or 'nothing is in the way'}), and "
            f"those of the master's machine go by {orders.transport}.",
            "Make their proxies and variables alike, or set traffic.transport in the plan.",
        )
    return Prepared(
        plan=plan,
        plan_path=Path(),
        plan_text="",
        payloads=tuple(Payload("", body, None, fields) for body, fields in orders.payloads),
        facts=EndpointFacts(),
        transport=transport,
        transport_name=name,
        why_not_fast=why_not_fast,
        select_prediction=prediction_selector(plan.answers),
        trace_s=None if orders.trace_s is None else np.frombuffer(orders.trace_s),
        local=None,
        sent_before=orders.first_requests,
    )
