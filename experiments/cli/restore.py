"""`restore`: put back the weights that runs with traffic.set_weights left on their endpoints."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.judging import say
from experiments.errors import AbreastError


def restore(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="A run folder; without one, all below --out."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the run folders are.")] = Path("reports"),
    force: Annotated[
        bool, typer.Option("--force", help="Also where someone else changed the weights since.")
    ] = False,
) -> None:
    """Put back the endpoint's weights after a run that was killed.

    It changes nothing where they are put back already. For example:

      abreast restore

      abreast restore reports/20260131-120000-ab-1a2b
    """
    from experiments import restore as journals
    from experiments import run_folder, series
    from experiments.sagemaker import weights

    if run is None:
        folders = journals.pending(out)
    else:
        folder = run_folder.open_folder(run)
        folders = list(series.runs(folder))[::-1] or [folder]
    if not folders:
        say([f"No run below {out} has weights to put back."])
    refused = []
    for folder in folders:
        try:
            with journals.held(folder):
                weights.restore(folder, lambda text: say([text]), force=force)
        except AbreastError as error:
            refused.append(error)
            say([str(error)] if len(folders) > 1 else [])
    if len(folders) == 1 and refused:
        raise refused[0]
    if refused:
        raise AbreastError(
            f"The weights of {len(refused)} of {len(folders)} runs are not put back."
        )
