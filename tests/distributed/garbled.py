"""A master and a worker who hear anything: `python -m tests.distributed.garbled` holds them to it.

It is a program of its own since it imports Locust. The two are real, and so is what goes between
them; in place of Locust's sockets stands a wire that carries msgpack, and garbage in between.
"""

import math
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import locust  # noqa: F401 - first, since it patches
import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.event import Events

from experiments import run_folder
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import EndpointFacts
from experiments.traffic import crew as crews
from experiments.traffic import messages, shipping
from experiments.traffic import worker as workers
from experiments.traffic.crew import Crew
from experiments.traffic.prepare import Prepared, transport_of
from experiments.traffic.worker import Worker
from tests.analysis.runs import record

TO_MASTER = (messages.Pong, messages.Ready, messages.Part, messages.Report)
TO_WORKER = (messages.Ping, messages.Start, messages.Stop, messages.Ack)
PLAN = {
    "question": "load",
    "seed": 1,
    "endpoint": {"name": "shop", "target": "http://127.0.0.1:1", "region": "eu-west-1"},
    "arms": {"a": {}},
    "request": {"payloads": "rows.jsonl", "content_type": "application/json"},
    "traffic": {"routing": "pinned", "rate": 100, "warmup": "1s", "duration": "99s", "slots": 4,
                "transport": "boto3"},
    "slo": {"p99": "1s", "abort_on_fail": True},
    "limits": {"max_requests": 20_000, "max_minutes": 3},
}  # fmt: skip
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def carried(data: object) -> Any:
    """Give what Locust's sockets would make of it."""
    return msgpack.loads(msgpack.dumps(data), raw=False, strict_map_key=False)


class Pair:
    """One worker and its master, and the last message of each kind that went between them."""

    def __init__(self, folder: Path) -> None:
        self.seen: dict[str, Any] = {}
        self.said: list[str] = []
        self.hears: dict[str, Any] = {}
        options = SimpleNamespace(out=str(folder / "spool"), plan=None, plan_overrides=[])
        environment = SimpleNamespace(
            parsed_options=options, user_classes=[], events=Events(), runner=SimpleNamespace()
        )
        environment.runner.send_message = self.to_master
        environment.runner.register_message = lambda name, hear, **_: self.hears.update(
            {name: hear}
        )
        self.worker = Worker(environment, serves_schedule=True)
        self.worker.follow()
        client = SimpleNamespace(id="w", user_classes_count={"U": 4}, heartbeat=0)
        clients = type("Clients", (dict,), {"ready": [client], "all": [client]})(w=client)
        runner = SimpleNamespace(clients=clients, send_message=self.to_worker)
        self.folder = run_folder.create(folder, "p", "")
        run_folder.write_manifest(self.folder, {})
        self.crew = Crew(prepared(), self.folder, 4, runner, self.said.append)
        self.crew.brief()
        self.crew.start()
        assert self.worker._dispatch is not None
        self.dispatch = self.worker._dispatch
        self.rows = 0

    def to_worker(self, name: str, data: Any, _node: str) -> None:
        data = self.seen[name] = carried(data)
        if name == "abreast_orders":
            data = {**data, "folder": "/nowhere"}  # a disk of its own
        if name != "abreast_start":  # nothing is sent here
            self.hears[name](msg=SimpleNamespace(data=data))

    def to_master(self, name: str, data: Any) -> None:
        self.seen[name] = carried(data)
        (kind,) = (kind for kind in TO_MASTER if messages.name_of(kind) == name)
        self.crew.hear(kind, "w", self.seen[name])

    def settle(self) -> None:
        """Send some records, and all that is due; hold the two to having lost nothing."""
        for _ in range(5):
            self.dispatch.begun += 1
            self.dispatch.keep(record(self.rows, "a", 1.0, 5.0))
            self.rows += 1
        self.worker._tick(self.dispatch)
        until_s = time.monotonic() + 5
        shipper = self.worker._shipper
        assert shipper is not None
        while shipper.unconfirmed:
            shipper.ship()
            assert time.monotonic() < until_s, "the records do not come"
        self.worker._report(self.dispatch)
        self.crew.tick(lambda _: None)
        assert (self.crew.ended_as, self.crew.reason) == ("complete", None)
        assert not self.crew.stopped.is_set()
        assert not self.dispatch.stopped.is_set()
        assert (self.crew.begun, self.crew.health.ended) == (self.rows, self.rows)
        copy = self.folder.raw / "requests-0.arrows"
        assert copy.read_bytes() == self.dispatch.records.path.read_bytes()


def prepared() -> Prepared:
    """Give what a master has of the plan."""
    plan = Plan.model_validate(PLAN)
    transport, name, _ = transport_of(plan)
    return Prepared(
        plan=plan, plan_path=Path("p.toml"), plan_text="",
        payloads=(Payload("0", b"{}", None),), facts=EndpointFacts(),
        transport=transport, transport_name=name, why_not_fast=None,
        select_prediction=lambda _body, _kind: None, trace_s=None, local=None,
    )  # fmt: skip


def main() -> None:
    """Send garbage, and messages of which a part is garbage, between good ones."""
    shipping.RESEND_S = -1.0  # whatever is under way seems lost
    workers.QUIET_S = math.inf  # there is no port to ask whether the master is there
    given_up_after, crews._MOST_GARBLED = crews._MOST_GARBLED, 10**9
    with tempfile.TemporaryDirectory() as name:
        pair = Pair(Path(name))
        pair.settle()
        # Messages that could be believed are not sent: a stop by the master is to be obeyed.
        telling = {"ended_as", "reason", "is_stopped", "is_done", "host", "refused", "cpu", "spool"}

        @settings(max_examples=150, deadline=None, database=None, derandomize=True)
        @given(st.data())
        def hear_anything(data: st.DataObject) -> None:
            kind = data.draw(st.sampled_from([*TO_MASTER, *TO_WORKER]))
            title = messages.name_of(kind)
            good = pair.seen.get(title, {"run_id": pair.folder.run_id})
            garbled: Any = data.draw(GARBAGE)
            if isinstance(good, dict) and data.draw(st.booleans()):
                key = data.draw(st.sampled_from(sorted(good.keys() - telling)))
                garbled = {**good, key: garbled}
                if data.draw(st.booleans()):
                    del garbled[key]
            if messages.read(kind, carried(garbled)) is None or kind in (
                messages.Part, messages.Ack
            ):  # fmt: skip
                if kind in TO_MASTER:
                    pair.crew.hear(kind, "w", carried(garbled))
                    pair.crew.hear(kind, "nobody", carried(garbled))
                else:
                    pair.hears[title](msg=SimpleNamespace(data=carried(garbled)))
            pair.settle()

        hear_anything()
        (worker,) = pair.crew._workers.values()
        assert worker.garbled > 20
        assert sum("is left out" in said for said in pair.said) == 1
        # What is odd only deep within is refused too.
        second = {**pair.seen["abreast_report"]["seconds"][0], "cpu": float("nan")}
        far = {"lateness": {"counts": {10**6: 1}, "longest_ns": 1}, "cpu": 0.5}
        odd: list[tuple[type[messages.Message], dict[str, Any]]] = [
            (messages.Report, {"seconds": [second]}),
            (messages.Report, {"seconds": [{**second, **far}]}),
            (messages.Part, {"content": "text"}),
            (messages.Part, {"name": "../requests-0.arrows"}),
        ]
        for kind, change in odd:
            known = worker.garbled
            pair.crew.hear(kind, "w", {**pair.seen[messages.name_of(kind)], **change})
            assert worker.garbled == known + 1, change
        pair.settle()
        # An ack of an earlier run, or of streams that are none, changes nothing.
        for sizes in ({"requests-0.arrows": 10**9}, {"requests-7.arrows": 1}):
            ack = messages.Ack(run_id=pair.folder.run_id, sizes=sizes)
            pair.hears["abreast_ack"](msg=SimpleNamespace(data=messages.told(ack)))
        late = messages.Stop(run_id="an-earlier-run", ended_as="aborted", reason=None)
        pair.hears["abreast_stop"](msg=SimpleNamespace(data=messages.told(late)))
        pair.settle()
        # More than its share it cannot have begun; and who is never understood is given up.
        begun = 10**6
        pair.crew.hear(messages.Report, "w", {**pair.seen["abreast_report"], "begun": begun})
        assert worker.begun[0] < begun
        crews._MOST_GARBLED = worker.garbled + given_up_after
        for _ in range(given_up_after):
            assert worker.state != "lost"
            pair.crew.hear(messages.Part, "w", None)
        assert worker.state == "lost"
        assert pair.dispatch.reason == "The master cannot read what it sends."
        assert not pair.crew.stopped.is_set()
        refuse_other_orders(pair)
        # What nobody foresaw ends the run, and not the ticking.
        pair.crew._seconds = [None]  # type: ignore[list-item]
        pair.crew.tick(lambda _: None)
        assert pair.crew.ended_as == "fault"
        pair.crew.close()
        pair.dispatch.close()


def refuse_other_orders(pair: Pair) -> None:
    """Hold the worker to refusing orders of other versions, of wrong ranks, and of other plans."""
    orders, answers = pair.seen["abreast_orders"], []
    pair.worker._runner.send_message = lambda _, data: answers.append(carried(data))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"abreast": "0.0.1", "rank": "of another shape"}, "the master is 0.0.1"),
        ({"rank": orders["of"]}, "make no sense"),
        ({"rank": -1}, "make no sense"),
        ({"together": 0}, "make no sense"),
        ({"run_id": "../../elsewhere"}, "make no sense"),
        ({"plan": {}}, "question"),
        ({"trace_s": b"odd"}, "buffer size"),
        ({"transport": "fast"}, "would go by boto3"),
    ]
    for change, said in wrong:
        data = {**orders, "folder": "/nowhere", **change}
        pair.hears["abreast_orders"](msg=SimpleNamespace(data=data))
        assert said in answers[-1]["refused"], answers[-1]
        assert pair.worker._dispatch is pair.dispatch
    assert len(answers) == len(wrong)
    assert RunFolder(pair.folder.path.parents[1] / "elsewhere").path.exists() is False


if __name__ == "__main__":
    main()
