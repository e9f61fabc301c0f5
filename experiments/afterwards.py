"""What is left to do with AWS when a run's own process has ended, in child processes.

They keep boto3 out of the process that supervises, and what they do not bring about costs no
record.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping

from experiments import child, restore, run_folder
from experiments.plan import Plan
from experiments.reach import Tell
from experiments.run_folder import RunFolder

CLOUDWATCH = "cloudwatch.json"


def put_weights_back(folder: RunFolder, environment: Mapping[str, str], tell: Tell) -> None:
    """Put back the weights that a run's own process left, and tell how that went.

    Where this process is ended meanwhile, the child goes on.
    """
    if not restore.is_pending(folder):
        return
    said = f"The run's process did not put back the weights: abreast restore {folder.path} does."
    tell({"kind": "note", "text": said})
    log = folder.logs / "restore.log"
    command = child.command("experiments", "restore", str(folder.path))
    going_on = {"kind": "note", "text": "The weights are being put back; that goes on."}
    with log.open("wb") as file, child.interrupts_call(lambda: tell(going_on)):
        # In a process group of its own, Ctrl-C does not reach it.
        subprocess.run(
            command, env=environment, stdout=file, stderr=file, process_group=0, check=False
        )
    tell({"kind": "note", "text": child.tail(log)})
    if restore.is_pending(folder):  # which is said to whom nothing else is
        sys.stderr.write(f"The weights are not put back: abreast restore {folder.path}\n")


def start_reading_cloudwatch(
    plan: Plan, folder: RunFolder, environment: Mapping[str, str], say: Callable[[str], object]
) -> "subprocess.Popen[bytes] | None":
    """Start the process that reads CloudWatch into the run folder; `None`: it is not to be read.

    It ends at the latest when this one does.
    """
    if not plan.reads_cloudwatch or "planned" not in run_folder.read_manifest(folder):
        return None  # or nothing was sent
    say(
        f"Reading CloudWatch once it has the run's last minute, for up to "
        f"{plan.cloudwatch.wait:g} s; Ctrl-C goes on without it."
    )
    with (folder.logs / "cloudwatch.log").open("wb") as log:
        command = child.command("experiments.sagemaker.cloudwatch", str(folder.path))
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def finish_reading_cloudwatch(folder: RunFolder, reading: "subprocess.Popen[bytes] | None") -> None:
    """Wait for that process, if there is one; note where it left nothing. Ctrl-C ends it."""
    if reading is None:
        return
    try:
        reading.wait()
    except KeyboardInterrupt:
        reading.kill()
        reading.wait()
    if reading.stdin is not None:
        reading.stdin.close()
    path = folder.path / CLOUDWATCH
    if not path.is_file():
        note = "CloudWatch was not read: that was stopped before its answer was whole."
        if reading.returncode > 0:
            note = f"CloudWatch was not read; see {folder.logs / 'cloudwatch.log'}."
        run_folder.write_atomically(path, json.dumps({"note": note}) + "\n")
