"""What a run was made of: versions, host, and the conditions that runs must share.

Runs that differ in a condition are not compared; their subject (model, image) may differ.
"""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.plan import Plan
from experiments.run_folder import RunFolder

_PACKAGES = ("abreast", "locust", "gevent", "boto3", "botocore", "urllib3", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Give the versions of Python and of what sends and judges."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def host() -> dict[str, str]:
    """Say what machine the requests came from."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def conditions(plan: Plan, payload_hash: str, region: str | None, transport: str) -> dict[str, str]:
    """Give the conditions that the client decides; the endpoint's own are added to them."""
    machine, version = host(), versions()
    return {
        "endpoint target": plan.endpoint.target,
        "region": region or plan.endpoint.region or "not known",
        "payload set": payload_hash,
        "transport": transport,
        "retries": "off (one attempt, standard mode)",
        **{name: version[name] for name in ("abreast", "python", "botocore", "locust", "gevent")},
        "client CPU": machine["cpu"],
        "client cores": machine["cores"],
    }


def manifest(folder: RunFolder, plan: Plan, plan_path: Path) -> dict[str, Any]:
    """Give the manifest of a run that is about to start."""
    return {
        "run_id": folder.run_id,
        "plan_name": plan_path.stem,
        "plan": plan.model_dump(mode="json", exclude_none=True),
        "seed": plan.seed,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "host": host(),
        "retry_mode": {"total_max_attempts": 1, "mode": "standard"},
        "ended_as": "running",
    }
