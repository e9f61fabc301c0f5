"""Who calls, as far as that may spoil a run: credentials, account, region and clock.

What boto3 and STS say is read elsewhere; what is here is pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.doctor import Finding, State, judged
from experiments.estimate import Estimate
from experiments.plan import Plan

MOST_SKEW_S = 300.0
"""AWS refuses a request whose time is further off (IAM User Guide, signing requests)."""
MUCH_SKEW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What boto3 finds of credentials, region and account, and who STS says it is."""

    method: str | None = None
    """botocore's name for where credentials come from; `None`: there are none."""
    profile: str | None = None
    is_temporary: bool = False
    expires_at: datetime | None = None
    renews: bool = False
    """Whether boto3 gets new ones by itself."""
    is_of_a_login: bool = False
    """Whether it does so only as long as somebody's login lasts."""
    region: str | None = None
    arn: str | None = None
    refusal: str | None = None
    """What STS said instead of who it is."""
    is_reached: bool = False
    """Whether STS answered at all."""
    ahead_s: float | None = None
    """How far this machine's clock is ahead of the answer's."""

    def can_ask(self, now: datetime) -> bool:
        """Whether there is all that a call to AWS takes."""
        is_over = self.expires_at is not None and self.expires_at <= now and not self.renews
        return self.method is not None and self.region is not None and not is_over


def credentials(found: Identity, takes: Estimate, now: datetime) -> Finding:
    """Are there credentials, of which kind, and do they outlive the run?"""
    title = "Credentials"
    if found.method is None:
        step = "Set AWS_PROFILE or endpoint.profile, log in, or give this machine a role."
        return Finding(title, "fail", "boto3 finds none", None, step)
    where = found.method + (f", profile {found.profile}" if found.profile else "")
    if found.renews and not found.is_of_a_login:
        return Finding(title, "ok", f"{where}: temporary, and boto3 renews them")
    if not found.is_temporary:
        return Finding(title, "ok", f"{where}: a key that does not expire")
    worst: State = "fail"
    why = "boto3 cannot renew them"
    step = "Get fresh ones, or use a source that boto3 renews: a role, or credential_process."
    if found.renews:
        worst, why = "warn", "boto3 renews them only as long as the login lasts"
        step = "Log in right before the run."
    if found.expires_at is None:
        said = f"{where}: temporary, and nothing says when they expire"
        return Finding(title, "warn", said, why, step)
    left_min = (found.expires_at - now) / timedelta(minutes=1)
    said = f"{where}: they expire in {left_min:.0f} minutes"
    if left_min <= 0:
        said = f"{where}: they expired {-left_min:.0f} minutes ago"
    if takes.minutes is None:
        return Finding(title, "warn" if left_min > 0 else worst, said, why, step)
    said += f", and the plan takes {takes.minutes:.0f}"
    return judged(title, "ok" if left_min > takes.minutes else worst, said, why, step)


def account(found: Identity) -> Finding:
    """Whose account is it?"""
    if found.arn is not None:
        return Finding("Account", "ok", found.arn)
    said = f"STS does not say: {found.refusal}"
    if found.is_reached:
        step = "Check the credentials: a wrong secret, an expired token or a wrong clock."
        return Finding("Account", "fail", said, None, step)
    step = "Give this network a way to STS, or leave it: a run does not need STS."
    return Finding("Account", "warn", said, None, step)


def region(found: Identity, plan: Plan, variables: Mapping[str, str]) -> Finding:
    """Which region do the calls go to, and who says so?"""
    title, ignored = "Region", variables.get("AWS_REGION")
    why = f"boto3 does not read AWS_REGION, which is {ignored}" if ignored else None
    step = "Set endpoint.region in the plan, or AWS_DEFAULT_REGION."
    if found.region is None:
        return Finding(title, "fail", "none is set", why, step)
    if plan.endpoint.region:
        source = "the plan's endpoint.region"
    elif variables.get("AWS_DEFAULT_REGION"):
        source = "AWS_DEFAULT_REGION"
    else:
        source = f"the profile {found.profile or 'default'}"
    is_meant = plan.endpoint.region or ignored in (None, "", found.region)
    return judged(title, "ok" if is_meant else "warn", f"{found.region}, from {source}", why, step)


def clock(ahead_s: float | None) -> Finding:
    """Is this machine's clock near enough to that of the service, which checks signatures by it?"""
    if ahead_s is None:
        return Finding("Clock", "skip", "no answer has said what time it is")
    off_s = abs(ahead_s)
    state: State = "ok" if off_s <= MUCH_SKEW_S else "warn" if off_s < MOST_SKEW_S else "fail"
    said = f"{off_s:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the service's, to the second"
    why = f"requests signed more than {MOST_SKEW_S:.0f} s off are refused"
    return judged("Clock", state, said, why, "Synchronise the clock (NTP, chrony).")
