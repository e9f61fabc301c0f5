"""The simulation against theory where there is one; what is beyond theory against arithmetic."""

import math
import subprocess
from pathlib import Path

import pytest

from experiments import child
from experiments.cli.running import serve
from experiments.errors import AbreastError, PlanError
from experiments.local import config, truth, virtual
from experiments.local.truth_table import printed
from tests.experiments.local.worlds import endpoint

QUEUES = endpoint(
    """
    [variants.mm]
    simulated = { distribution = "exponential", mean = "20ms", workers = 2 }
    [variants.md]
    simulated = { constant = "20ms", workers = 4 }
    [variants.two]
    instances = 2
    instance_factors = [1.0, 1.2]
    simulated = { distribution = "exponential", mean = "20ms" }
    """
)
RATES = {"mm": 70.0, "md": 150.0, "two": 50.0}


def test_the_simulation_agrees_with_theory() -> None:
    known = truth.at_rates(QUEUES, RATES)
    simulated = virtual.simulate(QUEUES, RATES, requests=5_000)
    for name, expected in known.items():
        assert expected.method.startswith("theory, M/")
        for level, value_s in zip(truth.LEVELS, expected.quantiles_s, strict=True):
            found_s, error_s = simulated[name].quantile(level)
            # Standard errors from ten replicates have heavy tails, and 12 values are compared.
            assert abs(found_s - value_s) < 6 * error_s, (name, level)
            assert error_s < 0.1 * value_s


def test_theory_is_left_where_something_bends_the_times() -> None:
    base = '[variants.a]\nsimulated = { distribution = "exponential", mean = "20ms" }\n'
    assert truth.theory(endpoint(base), "a", 10) is not None
    assert truth.theory(endpoint(base), "a", 50) is None  # full
    for more in (
        "[[variants.a.pauses]]\nevery = '10s'\nfor = '1s'",
        "[[drifts]]\nspread = 0.1\nmemory = '10s'",
        "[[faults]]\nkind = 'spike'\ndelay = '1s'\nshare = '1%'",
    ):
        assert truth.theory(endpoint(base + more), "a", 10) is None
    assert truth.theory(endpoint("model_timeout = '50ms'\n" + base), "a", 10) is None
    two = base + "instances = 2\nrouting = "
    assert truth.theory(endpoint(two + "'RANDOM'"), "a", 10) is not None
    assert truth.theory(endpoint(two + "'LEAST_OUTSTANDING_REQUESTS'"), "a", 10) is None


def test_least_outstanding_requests_beats_random() -> None:
    text = """
        [variants.a]
        instances = 4
        routing = "{}"
        simulated = {{ distribution = "exponential", mean = "20ms" }}
        """
    random, least = (
        virtual.simulate(endpoint(text.format(routing)), {"a": 140}, requests=4000)["a"]
        for routing in ("RANDOM", "LEAST_OUTSTANDING_REQUESTS")
    )
    assert least.quantile(0.99)[0] < 0.7 * random.quantile(0.99)[0]


def test_errors_and_spikes_are_counted_as_their_shares() -> None:
    faulty = endpoint(
        """
        model_timeout = "100ms"
        [variants.a]
        simulated = { constant = "1ms", workers = 64 }
        [[faults]]
        kind = "model_error"
        status = 500
        share = "3%"
        [[faults]]
        kind = "spike"
        delay = "200ms"
        share = "2%"
        [[faults]]
        kind = "spike"
        delay = "50ms"
        share = "20%"
        [[faults]]
        kind = "service_error"
        status = 503
        for = "1s"
        every = "20s"
        """
    )
    found = virtual.simulate(faulty, {"a": 50}, requests=5000)["a"]
    # The 200 ms exceed the model's limit; the schedule is on 1 s of 20.
    expected = 0.03 + 0.97 * (0.02 + 0.98 * 0.8 * 0.05)
    assert found.error_rate == pytest.approx(
        expected, abs=5 * math.sqrt(0.1 / found.requests) + 0.005
    )
    assert found.quantile(0.5)[0] == pytest.approx(0.001)
    assert found.quantile(0.9)[0] == pytest.approx(0.051)


def test_the_capacity_is_all_workers_busy_all_the_time() -> None:
    made = endpoint(
        """
        [variants.a]
        instances = 2
        instance_factors = [1.0, 2.0]
        routing = "LEAST_OUTSTANDING_REQUESTS"
        simulated = { constant = "10ms", workers = 3, per_kb = "5ms" }
        [[variants.a.pauses]]
        every = "10s"
        for = "2s"
        """
    )
    assert truth.capacity_rps(made, "a", 2048) == pytest.approx(0.8 * (3 / 0.02 + 3 / 0.04))


def test_spikes_are_work_that_takes_from_the_capacity() -> None:
    made = endpoint(
        """
        [variants.a]
        instances = 2
        routing = "LEAST_OUTSTANDING_REQUESTS"
        simulated = { constant = "10ms" }
        [[faults]]
        kind = "spike"
        delay = "200ms"
        share = "20%"
        for = "1s"
        every = "4s"
        [[faults]]
        kind = "spike"
        delay = "20ms"
        variant = "a"
        instance = 2
        """
    )
    # On average 200 ms * 20 % / 4 = 10 ms more at both, and 20 ms at the second.
    assert truth.capacity_rps(made, "a", 0) == pytest.approx(1 / 0.02 + 1 / 0.04)


def test_the_highest_rate_of_mm1_is_where_its_quantile_meets_the_limit() -> None:
    one = endpoint('[variants.a]\nsimulated = { distribution = "exponential", mean = "10ms" }')
    low, high, method = truth.highest_rate_rps(one, "a", {"p99": 0.2})
    exact = 100 - math.log(100) / 0.2
    assert low <= exact <= high
    assert high - low < 0.002 * exact
    assert method == "theory"
    assert truth.highest_rate_rps(one, "a", {"p99": 0.01}) == (0.0, 0.0, "theory")


def test_the_highest_rate_by_simulation_is_near_that_of_theory() -> None:
    # per_kb rules theory out, and with an empty body changes nothing.
    one = endpoint(
        '[variants.a]\nsimulated = { distribution = "exponential", mean = "10ms", per_kb = "1ms" }'
    )
    low, high, method = truth.highest_rate_rps(one, "a", {"p90": 0.05}, requests=2000)
    exact = 100 - math.log(10) / 0.05
    assert low == pytest.approx(exact, rel=0.06)
    assert high == pytest.approx(exact, rel=0.06)
    assert method == "simulation"


def test_a_throttle_bounds_the_rate_within_an_error_rate() -> None:
    one = endpoint(
        """
        [variants.a]
        simulated = { constant = "1ms" }
        [[faults]]
        kind = "throttle"
        above = 100
        """
    )
    low, high, _ = truth.highest_rate_rps(one, "a", {"error_rate": 0.2}, requests=2000)
    # A fifth is refused where 125 arrive and 100 are let through.
    assert low == pytest.approx(125, rel=0.05)
    assert low < high


@pytest.mark.parametrize("text", ["p99", "p99=1", "mean=1s", "error_rate=1s", "p0=1s"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match=f"--slo {text}"):
        truth.read_slo([text])


def test_limits_are_read() -> None:
    assert truth.read_slo(["p99.9=300ms", "error_rate=1%"]) == {"p99.9": 0.3, "error_rate": 0.01}


def test_the_truth_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text(
        'name = "x"\n[variants.a]\nsimulated = { distribution = "exponential", mean = "10ms" }\n'
        '[variants.b]\nmodel = "digits-svm"\nweight = 3'
    )
    said = printed(file, 80.0, ["p99=200ms"], 0).splitlines()
    # A quarter of 80 a second; -ln(0.01) / (100 - 20) = 57.56 ms.
    (line,) = [line for line in said if line.startswith("a ") and "M/M/1" in line]
    assert line.split()[1:3] == ["20.0", "20%"]
    assert "57.56" in line
    assert said[-1].startswith("a  76.9")


def test_where_there_is_no_truth_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('name = "x"\n[variants.b]\nmodel = "digits-svm"')
    with pytest.raises(PlanError, match="No variant is simulated"):
        printed(file, 80.0, [], 0)


def test_the_command_line_prints_it(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text(
        'name = "x"\n[variants.a]\nsimulated = { distribution = "exponential", mean = "10ms" }\n'
    )
    ended = subprocess.run(
        child.command(
            "experiments", "serve", str(file), "--truth", "--rate", "20", "--slo", "p99=200ms"
        ),
        env=child.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == printed(file, 20.0, ["p99=200ms"], 0) + "\n"
    with pytest.raises(AbreastError, match="--rate, --slo and --body-bytes go with --truth"):
        serve(file, rate=20.0)


def test_a_variant_that_is_full_has_no_percentiles(tmp_path: Path) -> None:
    path = tmp_path / "full.endpoint.toml"
    path.write_text('name = "full"\n[variants.a]\nsimulated = { constant = "20ms" }\n')
    (found,) = truth.at_rates(config.load(path), {"a": 50.0}).values()
    assert found.load == 1.0
    assert set(found.quantiles_s) == {math.inf}
    assert "\u2013  full: its queue grows without end" in printed(path, 60.0, [], 0)


@pytest.mark.parametrize(
    ("faults", "is_spared"),
    [
        (['kind = "service_error"\nstatus = 503\nshare = "1%"'], False),
        (['kind = "service_error"\nstatus = 503\nshare = "20%"'], True),
        (['kind = "service_error"\nstatus = 503\nfor = "1s"\nevery = "2s"'], False),
        (['kind = "service_error"\nstatus = 503\nat = "1h"'], False),
        (['kind = "model_error"\nstatus = 503\nshare = "90%"'], False),
        (['kind = "throttle"\nabove = 40'], True),
        (['kind = "throttle"\nabove = 50'], False),
        (['kind = "throttle"\nabove = 40\nvariant = "b"'], False),
        (['kind = "throttle"\nabove = 40\nshare = "40%"'], False),
        (['kind = "throttle"\nabove = 40\nshare = "60%"'], True),
        # The first that strikes a request is the one: what is slow in its body is not throttled.
        (['kind = "slow_body"\ndelay = "1ms"', 'kind = "throttle"\nabove = 40'], False),
        (['kind = "throttle"\nabove = 40', 'kind = "slow_body"\ndelay = "1ms"'], True),
    ],
)
def test_above_its_capacity_a_variant_is_full_unless_faults_answer_enough(
    faults: list[str], is_spared: bool
) -> None:
    text = "".join(f"[[faults]]\n{fault}\n" for fault in faults)
    for name in ("a", "b"):
        text += f'[variants.{name}]\nsimulated = {{ constant = "20ms" }}\n'
    found = truth.at_rates(endpoint(text), {"a": 60.0}, requests=200)["a"]
    assert found.load == pytest.approx(1.2)
    assert all(math.isfinite(value) is is_spared for value in found.quantiles_s)


def test_near_its_capacity_a_variant_is_simulated_for_longer() -> None:
    # per_kb rules theory out, and with an empty body changes nothing.
    one = endpoint(
        '[variants.a]\nsimulated = { distribution = "exponential", mean = "10ms", per_kb = "1ms" }'
    )
    found = truth.at_rates(one, {"a": 80.0}, requests=2000)["a"]
    # 100 relaxation times, each of 0.8 / (1 - sqrt(0.8))^2 arrivals, ten times, without a tenth.
    assert found.method.startswith("simulation of 64")
    assert found.method.endswith(" requests")
    for level, value_s, error_s in zip(
        truth.LEVELS, found.quantiles_s, found.errors_s, strict=True
    ):
        assert abs(value_s - -math.log(1 - level) / (100 - 80)) < 6 * error_s
    found = truth.at_rates(one, {"a": 80.0}, requests=500)["a"]
    assert found.method.endswith(" requests, too close to full to settle")


def test_a_simulation_says_of_no_rate_at_which_it_does_not_settle_that_it_keeps_the_slo() -> None:
    one = endpoint(
        """
        [variants.a]
        instances = 4
        simulated = { distribution = "exponential", mean = "10ms", per_kb = "1ms" }
        """
    )
    low, high, method = truth.highest_rate_rps(one, "a", {"p90": 100.0}, requests=500)
    # 100 load / (1 - sqrt(load))^2 arrivals at each of four queues are 5,000 of all.
    assert low == pytest.approx(400 / (1 + math.sqrt(100 * 4 / 5000)) ** 2)
    assert (high, method) == (400, "simulation")


def test_theory_of_constant_times_ends_before_their_states_are_too_many() -> None:
    one = endpoint('[variants.a]\nsimulated = { constant = "10ms" }')
    assert truth.theory(one, "a", 99.5) is not None
    assert truth.theory(one, "a", 99.6) is None
    many = endpoint('[variants.a]\nsimulated = { constant = "10ms", workers = 1001 }')
    assert truth.theory(many, "a", 10) is None


@pytest.mark.parametrize(
    "simulated", ['distribution = "exponential", mean = "10ms"', 'constant = "10ms"']
)
def test_where_all_rates_keep_the_slo_the_highest_is_by_theory(
    tmp_path: Path, simulated: str
) -> None:
    file = tmp_path / "e.toml"
    file.write_text(f'name = "x"\nmodel_timeout = "1h"\n[variants.a]\nsimulated = {{{simulated}}}')
    said = printed(file, None, ["p99=1h"], 0).splitlines()[-1]
    kept = "99.99" if "exponential" in simulated else "99.5"
    assert said == f"a  at least {kept} req/s; full at 100 (by theory)"
