"""Cold starts: the first request to each target, recorded apart from what is judged."""

from collections.abc import Sequence

from experiments.record import COLD, SCHEMA
from experiments.sagemaker.first_answer import First
from experiments.traffic.client import record_of
from experiments.traffic.dispatch import Arrival, Dispatch
from experiments.traffic.recorder import Recorder


def write_cold(dispatch: Dispatch, firsts: Sequence[First]) -> None:
    """Write the records of requests that were sent one after another before the clock started.

    Raises:
        OSError: the disk refuses.
    """
    recorder = Recorder(dispatch.folder.cold, SCHEMA, {"run_id": dispatch.folder.run_id})
    for number, first in enumerate(firsts):
        zero_ns = firsts[0].started_ns
        at_ns = first.started_ns - zero_ns
        arrival = Arrival(number, at_ns, COLD, first.arm, first.payload, None)
        recorder.append(
            record_of(
                dispatch, zero_ns, None, arrival, first.parameters, first.reply, first.started_ns, 0
            )
        )
    recorder.close()
