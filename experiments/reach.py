"""The endpoint that a plan names: checked, and where it is local, started and ended."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import child, restore
from experiments.errors import EndpointError, naming
from experiments.local import config as endpoint_file
from experiments.local import process as local_endpoint
from experiments.memory import refuse_beyond_memory
from experiments.plan import Plan, check_variants

Tell = Callable[[Mapping[str, Any]], None]


def check_endpoint(plan: Plan, plan_path: Path, out: Path | None = None) -> None:
    """Check that this machine can run the plan, and read the file of its local endpoint, if any.

    Raises:
        AbreastError: memory is short, the file is wrong or not of the plan's endpoint, or another
            endpoint still has the weights of a run below `out`.
    """
    refuse_beyond_memory(plan, plan_path)
    if plan.endpoint.config is None:
        if out is not None:
            restore.refuse_unrestored(out, plan.endpoint)
        return
    first, *others = endpoint_file.load_all(plan_path.parent / plan.endpoint.config)
    if first.name != plan.endpoint.name:
        raise EndpointError(
            f'{plan_path}: endpoint.name is "{plan.endpoint.name}", but '
            f'{plan.endpoint.config} is the endpoint "{first.name}".',
            "Make the two names the same.",
        )
    with naming(plan_path):
        for name in set(plan.other_endpoints) - {each.name for each in others}:
            raise EndpointError(
                f'{plan.endpoint.config} describes no endpoint "{name}", which an arm names.',
                "Give that endpoint a file, and name the file there: also = [...].",
            )
        of_others = (f"{each.name}/{variant}" for each in others for variant in each.variants)
        check_variants(plan, [*first.variants, *of_others])


@dataclass(frozen=True, slots=True)
class Reachable:
    """An endpoint that can be called: the environment to call it from, and whether it is there."""

    environment: Mapping[str, str]
    is_alive: Callable[[], bool]


@contextmanager
def reach(plan: Plan, plan_path: Path, logs: Path, tell: Tell) -> Iterator[Reachable]:
    """Start the plan's local endpoint, where it is local, and end it at the end."""
    environment = child.environment()
    if plan.endpoint.config is None:
        yield Reachable(environment, lambda: True)
        return
    check_endpoint(plan, plan_path)
    tell({"kind": "note", "text": "Starting the local endpoint and its models."})
    config = plan_path.parent / plan.endpoint.config
    # Else every run of a series would meet the same chance, and runs would look too much alike.
    endpoint = local_endpoint.start(config, log_dir=logs, seed=plan.seed)
    try:
        called_from = endpoint.client_environment(environment)
        yield Reachable(called_from, lambda: endpoint.process.poll() is None)
    finally:
        endpoint.stop()
