"""`worker`: send a share of a run that `abreast run --expect-workers` leads elsewhere."""

import os
from pathlib import Path
from typing import Annotated

import typer


def worker(
    master_host: Annotated[str, typer.Option(help="Where `abreast run` is.")],
    master_port: Annotated[int, typer.Option(help="The port it listens on.")] = 5557,
    out: Annotated[
        Path, typer.Option(help="Where records are kept until the master has them.")
    ] = Path("reports"),
) -> None:
    """Send a share of the load of a run that is led from another machine, and end with it.

    It needs credentials of its own, and neither the plan nor its payloads. It waits five minutes
    for the master. Locust's messages are neither authenticated nor encrypted: use it in a private
    network only.

    For example:

      abreast worker --master-host 10.0.0.5

      abreast worker --master-host abreast-master --master-port 5557 --out /spool
    """
    from experiments import child
    from experiments.workers import command

    settings = {k: v for k, v in child.environment().items() if not k.startswith("LOCUST_")}
    line = command(master_host, master_port, str(out.absolute()))
    os.execve(line[0], line, settings)  # noqa: S606 - it takes this process's place
