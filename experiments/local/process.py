"""A local endpoint as a child process: start it, know how to call it, stop it."""

import json
import selectors
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments import child
from experiments.errors import EndpointError

READY_WITHIN_S = 90.0
_STOP_WITHIN_S = 10.0
_OTHERS_CREDENTIALS = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
)

_SERVICES = ("SAGEMAKER_RUNTIME", "SAGEMAKER", "CLOUDWATCH", "APPLICATION_AUTO_SCALING", "STS")
_LEFT_OUT_IF_TRUE = (
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
"""With these the SDKs leave the URLs of services aside or refuse them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a client must know to call a local endpoint; its server's line on stdout, in JSON."""

    url: str
    port: int
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    variants: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Return the variables with which the AWS SDKs and the AWS CLI call this endpoint."""
        return {
            **{f"AWS_ENDPOINT_URL_{service}": self.url for service in _SERVICES},
            **dict.fromkeys(_LEFT_OUT_IF_TRUE, "false"),
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client_environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return `base` changed so that a client in it calls this endpoint and nothing else."""
        kept = {name: value for name, value in base.items() if name not in _OTHERS_CREDENTIALS}
        return {**kept, **self.environment(), "NO_PROXY": "*", "no_proxy": "*"}

    def exports(self) -> str:
        """Return the same variables as lines for a POSIX shell."""
        variables = self.environment().items()
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEndpoint(Announcement):
    """A local endpoint that runs as a child of this process, and ends with it at the latest."""

    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self) -> None:
        """End the endpoint and its models. It may be called again."""
        _stop(self.process)


def start(
    config_path: Path, *, port: int = 0, log_dir: Path | None = None, seed: int = 0
) -> LocalEndpoint:
    """Start the endpoint that a file describes, and return when it answers.

    `seed` is added to the file's own. What it says goes to files in `log_dir`, or temporary ones.

    Raises:
        EndpointError: it did not start; with what it said of that.
    """
    arguments = [str(config_path), "--port", str(port), "--seed", str(seed), "--lifeline"]
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        arguments += ["--log-dir", str(log_dir)]
    with (log_dir / "endpoint.log").open("w+b") if log_dir else tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            child.command("experiments.local.server", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child.environment(),
            process_group=0,  # Ctrl-C reaches the parent alone, which then stops the child
        )
        try:
            if line := _first_line(process):
                known = json.loads(line)
                known["variants"] = tuple(known["variants"])
                return LocalEndpoint(**known, process=process)
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
            raise EndpointError(
                said
                or f"The local endpoint of {config_path} is not ready after "
                f"{READY_WITHIN_S:g} s, and says nothing."
            )
        except BaseException:
            _stop(process)
            raise


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the line that says it is ready; empty when the child ends or takes too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(READY_WITHIN_S) else b""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
