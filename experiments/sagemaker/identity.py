"""Who calls: which credentials and region boto3 finds, and what STS and its clock say of them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.exceptions as failures
from botocore.credentials import RefreshableCredentials

from experiments.caller import Identity
from experiments.errors import EndpointError
from experiments.sagemaker.endpoint import UNREADABLE, client_for
from experiments.sagemaker.invoke import session_for
from experiments.sagemaker.redacted import keep_out, said
from experiments.tables import Endpoint

_WITHOUT_PROFILE = ("env", "iam-role", "container-role")
_OF_A_LOGIN = {"sso_session", "sso_start_url", "login_session"}


def identify(endpoint: Endpoint) -> Identity:
    """Find credentials as boto3 does, and ask STS whose they are.

    Raises:
        EndpointError: an unknown profile, or credentials that cannot be had; with what to do.
    """
    try:
        session = session_for(endpoint)
        found = session.get_credentials()
        if found is None:
            return Identity(region=session.region_name)
        keys = found.get_frozen_credentials()
        keep_out(keys.secret_key, keys.token)
    # A credential_process that is not there, or does not write JSON, is no error of botocore's.
    except (failures.ClientError, failures.BotoCoreError, OSError, ValueError) as error:
        raise EndpointError(
            f"boto3 cannot get credentials: {said(error)}", _step_after(error, endpoint)
        ) from None
    has_profile = found.method not in _WITHOUT_PROFILE
    told = set().union(*_profiles(session)) if has_profile else set()
    # The variables of a process do not change, whatever botocore tries to read from them again,
    # and nobody is there to enter a code in the middle of a run.
    renews = isinstance(found, RefreshableCredentials) and found.method != "env"
    return Identity(
        method=found.method,
        profile=session.profile_name if has_profile else None,
        is_temporary=keys.token is not None,
        # botocore keeps the time to itself.
        expires_at=getattr(found, "_expiry_time", None),
        renews=renews and "mfa_serial" not in told,
        is_of_a_login=bool(told & _OF_A_LOGIN),
        region=session.region_name,
        **({} if session.region_name is None else _caller(endpoint)),
    )


def _profiles(session: Any) -> Iterator[Mapping[str, str]]:
    """Give the settings of a session's profile, and of those that it borrows credentials from."""
    every, name = dict(session._session.full_config["profiles"]), session.profile_name
    while (own := every.pop(name, None)) is not None:
        yield own
        name = own.get("source_profile")


def _step_after(error: Exception, endpoint: Endpoint) -> str:
    profile = endpoint.profile or "the profile that AWS_PROFILE names"
    if isinstance(error, failures.ProfileNotFound):
        return "Check endpoint.profile and AWS_PROFILE; `aws configure list-profiles` lists yours."
    if isinstance(error, failures.SSOError | failures.TokenRetrievalError):
        return f"Log in: `aws sso login`, with --profile for {profile}."
    if type(error).__name__.startswith("Login"):  # older botocores know none of these
        return f"Log in: `aws login`, with --profile for {profile}."
    if isinstance(error, failures.ClientError):
        return f"Check the role of {profile}, and whether its trust policy lets you assume it."
    return (
        f"Check {profile} in ~/.aws/config; if it has a credential_process, run that by hand, "
        "and see what it writes."
    )


def _caller(endpoint: Endpoint) -> dict[str, Any]:
    """Ask STS who calls; whatever it answers says what time it is."""
    dates: list[str] = []
    # A URL that is not of this machine is that of SageMaker alone.
    of_sts = endpoint if endpoint.is_loopback else endpoint.model_copy(update={"target": "aws"})
    client = client_for(of_sts, "sts")

    def note(response_dict: Mapping[str, Any], **_: object) -> None:
        dates.extend(filter(None, [response_dict["headers"].get("date")]))

    client.meta.events.register("before-parse.sts", note)
    try:
        found = {"arn": client.get_caller_identity()["Arn"], "is_reached": True}
    except UNREADABLE as error:  # what stands at a URL may know no STS
        is_reached = isinstance(error, failures.ClientError)
        found = {"refusal": said(error), "is_reached": is_reached}
    return {**found, "ahead_s": _ahead_s(dates[0]) if dates else None}


def _ahead_s(date: str) -> float | None:
    """How far this clock is ahead of an answer's Date, which is to the second; if it is a date."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a time zone
        return None
