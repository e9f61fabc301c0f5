"""What `abreast serve --truth` prints."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.errors import PlanError
from experiments.local import config
from experiments.local.truth import LEVELS, at_rates, capacity_rps, highest_rate_rps, read_slo


def printed(path: Path, rate_rps: float | None, slo: Sequence[str], body_bytes: int) -> str:
    """Return the truth of the simulated variants of an endpoint file as text.

    The endpoint divides `rate_rps` by weight; `slo` is as of `read_slo`. Either may be left out.

    Raises:
        PlanError: the file or a limit is wrong, or there is nothing to be said.
    """
    endpoint, limits = config.load(path), read_slo(slo)
    names = [name for name, variant in endpoint.variants.items() if variant.simulated is not None]
    if not names:
        raise PlanError(
            f"{path}: No variant is simulated, so the truth is not known.",
            "Give a variant a table [variants.NAME.simulated].",
        )
    if rate_rps is None and not limits:
        raise PlanError("--truth needs --rate, --slo or both.", "Give one such as --rate 80.")
    parts = [] if rate_rps is None else [_at_rate(endpoint, rate_rps, names, body_bytes)]
    parts += [_highest(endpoint, limits, names, body_bytes)] if limits else []
    return "\n\n".join(parts)


def _at_rate(endpoint: config.Endpoint, rate_rps: float, names: list[str], body_bytes: int) -> str:
    weights = {name: variant.weight for name, variant in endpoint.variants.items()}
    total = sum(weights.values())
    rates = {name: rate_rps * weights[name] / total for name in names if weights[name]}
    width = max(map(len, ("variant", *rates)))
    head = "".join(f"{f'p{100 * level:g} ms':>18}" for level in LEVELS)
    lines = [
        f"At {rate_rps:g} requests a second, divided by weight: response times at the endpoint "
        "(wait and service),",
        "without the network, of requests that succeed; \u00b1 is twice the standard error.",
        f"{'variant':<{width}}  {'req/s':>8}{'load':>7}{head}{'errors':>9}  by",
    ]
    for name, truth in at_rates(endpoint, rates, body_bytes=body_bytes).items():
        times = map(_time, truth.quantiles_s, truth.errors_s)
        share = "\u2013" if math.isnan(truth.error_rate) else f"{truth.error_rate:.2%}"
        lines.append(
            f"{name:<{width}}  {truth.rate_rps:>8.1f}{truth.load:>7.0%}"
            f"{''.join(f'{time:>18}' for time in times)}{share:>9}  {truth.method}"
        )
    return "\n".join(lines)


def _highest(
    endpoint: config.Endpoint, slo: Mapping[str, float], names: list[str], body_bytes: int
) -> str:
    width = max(map(len, names))
    asked = ", ".join(
        f"{metric} up to {limit:.4g}" if metric == "error_rate" else f"{metric} {1000 * limit:g} ms"
        for metric, limit in slo.items()
    )
    lines = [f"Highest rate of each variant alone that keeps {asked}:"]
    for name in names:
        low, high, method = highest_rate_rps(endpoint, name, slo, body_bytes=body_bytes)
        if not high:
            said = "none"
        elif math.isinf(low):
            said = "any: it takes no time"
        elif high == capacity_rps(endpoint, name, body_bytes):
            said = f"at least {low:.4g} req/s; full at {high:.4g}"
        else:
            said = f"{low:.4g} req/s; not {high:.4g}"
        lines.append(f"{name:<{width}}  {said} (by {method})")
    return "\n".join(lines)


def _time(value_s: float, error_s: float) -> str:
    if not math.isfinite(value_s):
        return "\u2013"
    spread = f" \u00b1{2000 * error_s:.2g}" if error_s else ""
    return f"{1000 * value_s:.4g}{spread}"
