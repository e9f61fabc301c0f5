"""The tables of a plan that say what is sent, to which endpoint, and at what cost at most."""

import ipaddress
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.units import Name, Seconds, Table


class Endpoint(Table):
    """Which endpoint is measured, and where it is."""

    name: Name
    target: str = "aws"
    config: str | None = None
    region: str | None = None
    profile: str | None = None

    @property
    def url(self) -> str | None:
        """The URL to speak to, where the plan gives one."""
        return self.target if self.target.startswith(("http://", "https://")) else None

    @property
    def is_loopback(self) -> bool:
        """Whether all traffic stays on this machine."""
        if self.target == "local":
            return True
        host = urlsplit(self.url or "").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @model_validator(mode="after")
    def _target_is_known(self) -> Self:
        if self.target not in ("local", "aws") and self.url is None:
            raise ValueError(f'target is "{self.target}"; give "local", "aws" or a URL')
        if self.target == "local" and (self.profile or self.region):
            raise ValueError("region and profile are AWS's; the local endpoint has its own")
        try:
            urlsplit(self.target).port  # noqa: B018 - reading it is what checks it
        except ValueError as error:
            raise ValueError(f'target is "{self.target}": {error}') from None
        if self.target == "local" and self.config is None:
            raise ValueError('target = "local" needs config, the file of the local endpoint')
        if self.target != "local" and self.config is not None:
            raise ValueError(
                'config goes with target = "local"\nLeave it out, as --set endpoint.config= does.'
            )
        return self


class ArmRequest(Table):
    """The InvokeEndpoint parameters that tell one arm from another."""

    target_variant: Name | None = None
    endpoint_name: Name | None = None
    inference_component_name: Name | None = None
    target_model: str | None = None
    target_container_hostname: Name | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything tells this arm from the others."""
        return any(value is not None for value in self.model_dump().values())


class Arm(Table):
    """What is compared: by default the production variant of the arm's name."""

    share: PositiveFloat = 1.0
    request: ArmRequest = ArmRequest()
    instance_price_usd_per_hour: PositiveFloat | None = None


class Request(Table):
    """InvokeEndpoint's parameters, the same for every arm."""

    payloads: str
    operation: Literal["invoke", "stream"] = "invoke"
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    inference_id: bool | str = False
    target_model: str | None = None
    target_container_hostname: Name | None = None
    inference_component_name: Name | None = None
    enable_explanations: str | None = None
    session_id: str | None = None
    prefix_aware_id: str | None = None


class Answers(Table):
    """What in the answer is compared, and where a payload line holds the truth."""

    prediction: str | int = "text"
    label: str | None = None
    tolerance: float = Field(default=0.0, ge=0)


class Limits(Table):
    """What a run may cost at most."""

    max_requests: PositiveInt
    max_minutes: PositiveFloat
    abort_error_rate: float | None = Field(default=None, gt=0, le=1)
    allow_foreign_traffic: bool = False
    """Whether others may call the endpoint meanwhile: then it is no reason to distrust the run."""


class CloudWatch(Table):
    """Whether a run's records are held against the endpoint's own metrics, once it has ended."""

    read: bool | None = None
    """`None`: where the endpoint is AWS's."""
    wait: Seconds = 180.0
    """How long the run's last minute is waited for."""
