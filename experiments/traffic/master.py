"""A run that workers send: hung on the events of Locust's master, which only leads."""

from typing import Any

import gevent
from locust.exception import RPCError, RPCReceiveError
from locust.rpc.zmqrpc import Server
from locust.runners import STATE_STOPPED, STATE_STOPPING, MasterRunner

from experiments.errors import AbreastError
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.traffic.control import Run
from experiments.traffic.crew import Crew
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.messages import Message, Part, Pong, Ready, Report, name_of
from experiments.traffic.telling import say

STOP_TIMEOUT_S = 1.0
"""For Locust's own way of stopping users, who by then have ended."""
_WAIT_S = 300.0
"""As long as Locust's workers wait for a master."""


def leave_out_garbage() -> None:
    """Let Locust's master leave out what it cannot read or handle, which else ends its listening.

    To be called before there is one.
    """
    heard: Any = Server
    runners: Any = MasterRunner
    receive, handle = heard.recv_from_client, runners.handle_message

    def receive_or_leave_out(server: Any) -> Any:
        try:
            return receive(server)
        except RPCError:
            raise
        except Exception as error:
            # Without the sender's name, by which Locust would handle its last message once more.
            raise RPCReceiveError(f"{type(error).__name__}: {error}") from error

    def handle_or_leave_out(runner: Any, client_id: str, message: Any) -> None:
        try:
            handle(runner, client_id, message)
        except Exception as error:  # noqa: BLE001 - whatever a message holds, others follow
            say(f"A message of {client_id} is left out: {type(error).__name__}: {error}")

    heard.recv_from_client = receive_or_leave_out
    runners.handle_message = handle_or_leave_out


def check_master(options: Any, plan: Plan) -> None:
    """Check that workers can take part in this run."""
    if plan.endpoint.config is not None and options.supervised_run is None:
        raise AbreastError(
            'endpoint.target is "local", which only this process reaches.',
            "Use `abreast run PLAN --processes N`, or serve the endpoint with `abreast serve` and "
            "give the plan its URL.",
        )
    if options.enable_rebalancing:
        raise AbreastError(
            "--enable-rebalancing moves users while they send.", "Leave it out: shares are fixed."
        )


def await_workers(runner: Any, options: Any) -> None:
    """Wait until as many workers as are expected are ready."""
    wait_s = options.expect_workers_max_wait or _WAIT_S

    def wait() -> bool:
        while len(runner.clients.ready) < options.expect_workers:
            gevent.sleep(0.05)
        return True

    if not gevent.with_timeout(wait_s, wait, timeout_value=False):
        came = sorted(client.id.rpartition("_")[0] for client in runner.clients.ready)
        raise AbreastError(
            f"{len(came)} of {options.expect_workers} workers came within {wait_s:g} s"
            f"{': those of ' + ', '.join(came) if came else ''}.",
            f"Start the others: abreast worker --master-host HOST --master-port "
            f"{runner.server.port}; see their own messages, and docs/distributed.md.",
        )


class MasterRun(Run):
    """A run as `Run`, of a crew."""

    fills_table = True  # no request is told to Locust, on any worker

    def follow(self) -> None:
        """Run the plan each time that Locust starts a test."""
        super().follow()
        runner = self._environment.runner
        for kind in (Pong, Ready, Part, Report):
            runner.register_message(
                name_of(kind), lambda msg, kind=kind, **_: self._hear(kind, msg)
            )

    def _hear(self, kind: type[Message], msg: Any) -> None:
        if isinstance(self._dispatch, Crew):
            self._dispatch.hear(kind, msg.node_id, msg.data)

    def _dispatch_of(self, folder: RunFolder, slots: int) -> Crew:
        runner = self._environment.runner
        crew = Crew(self._prepared, folder, slots, runner, self._note)
        self._dispatch = crew  # which hears from here on
        try:
            await_workers(runner, self._options)
            crew.brief()
        except AbreastError:
            runner.send_message("quit")
            gevent.sleep(0.3)
            raise
        # Who came meanwhile has no share, and so gets no users.
        runner._users_dispatcher = self._environment.dispatcher_class(
            worker_nodes=crew.nodes, user_classes=runner.user_classes
        )
        return crew

    def _start_clock(self, **about: object) -> None:
        # Else Locust would give users to whoever comes, and take them from those who have them.
        self._environment.runner._users_dispatcher = None
        super()._start_clock(**about)

    def _await_served(self, dispatch: Dispatch) -> None:
        assert isinstance(dispatch, Crew)
        dispatch.await_served()

    def _is_serving(self) -> bool:
        return isinstance(self._dispatch, Crew) and not self._dispatch.is_served

    def _stop(self, **_: object) -> None:
        super()._stop()
        if isinstance(self._dispatch, Crew):
            self._dispatch.await_served()

    def _interrupt(self) -> None:
        super()._interrupt()
        if self._interrupts > 1 and isinstance(self._dispatch, Crew):
            self._dispatch.give_up()

    def _stop_users(self) -> None:
        runner = self._environment.runner
        if runner.state not in (STATE_STOPPING, STATE_STOPPED):
            # Workers that Locust stops are not there for its quit that follows.
            stays = self._page is not None and not self._is_supervised
            runner.stop(send_stop_to_client=stays)
