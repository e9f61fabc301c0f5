"""A run's weights.json: the weights that it found, those it set, and whether they are put back.

It is on disk before anything is changed, so that whoever comes after a killed run knows what was
there. While a run or a restore is at work on an endpoint it holds the run folder.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from experiments import run_folder
from experiments.errors import EndpointError, RunFolderError
from experiments.run_folder import RunFolder
from experiments.tables import Endpoint

WEIGHTS = "weights.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What weights.json holds. Weights are those of DescribeEndpoint, by variant."""

    endpoint: Endpoint
    """The plan's [endpoint]."""
    region: str
    arn: str
    """The endpoint's, which tells it from one of its name in another account or region."""
    before: dict[str, float]
    wanted: dict[str, float]
    state: Literal["asked", "set", "restoring", "restored"]

    @property
    def target(self) -> Endpoint:
        """The endpoint as it can be reached from elsewhere, where its region is another."""
        if self.endpoint.target == "local":
            return self.endpoint
        return self.endpoint.model_copy(update={"region": self.region})


_AS_JSON = TypeAdapter(Journal)


def write(folder: RunFolder, journal: Journal) -> None:
    """Write weights.json so that a power cut leaves the old or the new one."""
    text = _AS_JSON.dump_json(journal, indent=2, exclude_none=True).decode()
    run_folder.write_atomically(folder.path / WEIGHTS, f"{text}\n", is_durable=True)
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


def read(folder: RunFolder) -> Journal | None:
    """Read weights.json; `None`: the run set no weights."""
    path = folder.path / WEIGHTS
    try:
        return _AS_JSON.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path}: not readable: {error}.",
            "Look at the endpoint's weights by hand, and delete the file when they are right.",
        ) from None


def is_pending(folder: RunFolder) -> bool:
    """Whether weights that this run set are still to be put back."""
    journal = read(folder)
    return journal is not None and journal.state != "restored"


def pending(out: Path) -> list[RunFolder]:
    """Give the runs below `out` whose weights are still to be put back, those of a series too.

    The newest comes first, since it found the weights of those before. One whose weights.json is
    damaged is among them. A local endpoint has ended with its run, and takes its weights along.
    """
    found = [*out.glob(f"*/{WEIGHTS}"), *out.glob(f"*/runs/*/{WEIGHTS}")]
    folders = [RunFolder(path.parent.absolute()) for path in found]
    folders.sort(key=lambda each: each.path.name, reverse=True)
    return [each for each in folders if _may_be_pending(each)]


def _may_be_pending(folder: RunFolder) -> bool:
    try:
        journal = read(folder)
    except RunFolderError:
        return True  # which says so to whom reads it next
    return (
        journal is not None and journal.state != "restored" and journal.endpoint.target != "local"
    )


def out_of(folder: RunFolder) -> Path:
    """Give the folder below which a run's folder, or its series', was made."""
    parent = folder.path.absolute().parent
    return parent.parents[1] if parent.name == "runs" else parent


def refuse_unrestored(out: Path, endpoint: Endpoint) -> None:
    """Refuse to run on an endpoint that still has the weights of an earlier run below `out`.

    Raises:
        EndpointError: naming the run, and the command that puts its weights back.
        RunFolderError: a weights.json is damaged, which may be this endpoint's.
    """
    for folder in pending(out):
        journal = read(folder)
        assert journal is not None
        known = journal.endpoint
        is_same = (known.name, known.target) == (endpoint.name, endpoint.target)
        if is_same and endpoint.region in (None, journal.region):
            raise EndpointError(
                f'The endpoint "{endpoint.name}" has the weights that the run {folder.path} set, '
                "and they are not put back.",
                f"Put them back first: abreast restore {folder.path}",
            )


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder against everyone else who would change its endpoint's weights.

    The hold ends with this process, however that ends.
    """
    with _opened(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"{folder.path}: its run is still under way, or its weights are being put back.",
                "Wait until that has ended.",
            ) from None
        yield


@contextmanager
def _opened(folder: RunFolder) -> Iterator[int]:
    descriptor = os.open(folder.path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
