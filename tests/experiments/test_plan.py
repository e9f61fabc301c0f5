"""A plan is read whole, and every error names file, key, value and rule."""

import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.plan_file import BUILT_IN, find, load, text_as_run

PLAN = """
question = "compare"
seed = 1
[endpoint]
name = "digits"
target = "local"
config = "digits.endpoint.toml"
[arms.current]
[arms.candidate]
[request]
payloads = "rows.jsonl"
[traffic]
routing = "pinned"
rate = 10
duration = "2m"
[compare]
baseline = "current"
margins = { p50 = "5%", error_rate = "0.5pp" }
"""


def written(tmp_path: Path, text: str = PLAN) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, *overrides: str, text: str = PLAN) -> PlanError:
    with pytest.raises(PlanError) as caught:
        load(written(tmp_path, text), overrides)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


def test_durations_and_shares_are_read_with_their_units(tmp_path: Path) -> None:
    plan = load(written(tmp_path), ["traffic.warmup=500ms", "compare.margins.p99='12.5 %'"])
    assert plan.traffic.duration == 120.0
    assert plan.traffic.warmup == 0.5
    assert plan.traffic.planned_s == 120.5
    assert plan.compare.margins == {"p50": 0.05, "error_rate": 0.005, "p99": 0.125}


def test_an_arm_is_the_variant_of_its_name_unless_it_says_otherwise(tmp_path: Path) -> None:
    plan = load(
        written(tmp_path),
        ["arms.candidate.request.target_variant=green", "arms.other.request.target_model=b.tar"],
    )
    assert plan.variant_of("current") == "current"
    assert plan.variant_of("candidate") == "green"
    assert plan.variant_of("other") is None


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("traffic.rat=5", ["--set: traffic.rat: there is no such key", '"traffic.rate"']),
        ("rate=5", ["--set: rate: there is no such key", 'mean "traffic.rate"']),
        ("arms.a.request.variant=b", ['mean "arms.a.request.target_variant"']),
        ("traffic.rate=fast", ['--set: traffic.rate = "fast": must be a valid number', "--set"]),
        ("compare.margins=[]", ["must be a table, as under [compare.margins]"]),
        ("traffic.stages=[5]", ["must be a table, as under [[traffic.stages]]"]),
        ("endpoint.target=aws", ["plan.toml: endpoint: config goes", "Leave it out"]),
        ("traffic.rate=0", ["traffic.rate", "0", "greater than 0"]),
        ("traffic.duration=3 parsecs", ["traffic.duration", '"3 parsecs"', '"5m"']),
        ("traffic.duration=30", ["traffic.duration", "30", '"10s"']),
        ("traffic.routing=random", ["traffic.routing", '"random"', "'paired'"]),
        ("traffic.transport=slow", ["traffic.transport", '"slow"', "'boto3'"]),
        ("question=cost", ["question", '"cost"', "'compare'"]),
        ("compare.baseline=blue", ["compare.baseline", '"blue"', "current, candidate"]),
        ("compare.margins.p5x=5%", ["margins.p5x", "p50"]),
        ("compare.confidence=0.99", ["confidence", "0.99", "0.95"]),
        ("endpoint.name=bad name", ["endpoint.name", '"bad name"', "pattern"]),
        ("endpoint.target=localhost", ["endpoint", '"localhost"', '"aws"']),
        ("limits={max_requests=100, max_minutes=5}", ["1,300", "limits.max_requests", "100"]),
        ("limits={max_requests=10000, max_minutes=1}", ["2.2 minutes", "limits.max_minutes"]),
        ("arms.candidate.request.variant=x", ["arms.candidate.request.variant", "no such key"]),
        ("endpoint.target='http://127.0.0.1:notaport'", ["endpoint", "notaport"]),
        ("endpoint.profile=prod", ["endpoint", "the local endpoint has its own"]),
        ("traffic.duration=inf", ["traffic.duration", "inf"]),
        ("compare.margins.p0=5%", ["margins.p0"]),
        ("seed=true", ["seed", "True", "integer"]),
        ("traffic.stages=[{rate=5, for='9s'}]", ["traffic", "by stages takes no rate"]),
        ("traffic.arrivals=trace", ["traffic", "trace"]),
        ("traffic.arrivals=closed|traffic.slots=4",
         ["the closed model takes no rate and no slots", "Leave out rate and slots, and set"]),
        ("traffic.users=5", ["traffic", 'arrivals = "closed"']),
        ("traffic.trace=t.csv", ["traffic", "by trace takes no rate"]),
        ("traffic=5", ["traffic = 5: must be a table, as under [traffic]"]),
        ("traffic.routing=paired|arms.candidate.share=3", ["share"]),
        ("traffic.routing=weighted|arms.candidate.request.target_variant=x",
         ["arms.candidate.request"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key_and_rule(
    tmp_path: Path, override: str, parts: list[str]
) -> None:
    said = str(refusal(tmp_path, *override.split("|")))
    for part in parts:
        assert part in said


STAGED = PLAN.replace(
    'rate = 10\nduration = "2m"',
    'stages = [{ rate = 10, for = "30s" }, { rate = 10, to = 50, for = "90s", name = "peak" }]',
)


def test_stages_give_the_length_the_rate_and_the_phases(tmp_path: Path) -> None:
    traffic = load(written(tmp_path, STAGED)).traffic
    assert traffic.planned_s == 130.0
    assert traffic.expected_requests == 100 + 300 + 2700
    assert traffic.rate_rps == 3000 / 120
    assert [phase.name for phase in traffic.phases] == ["warmup", "stage-1", "peak"]


@pytest.mark.parametrize(
    ("stages", "part"),
    [
        ("[{rate=0, to=9, for='9s'}]", "the first stage's rate, which is 0"),
        ("[{rate=5, for='9s', name='a'}, {rate=6, for='9s', name='a'}]", "one name: warmup, a, a"),
        ("[{rate=5, for='9s', name='warmup'}]", "cannot be named"),
        ("[{rate=5}]", "stages.0.for: is required"),
        ("[]", "stages"),
    ],
)
def test_stages_that_cannot_be_sent_are_refused(tmp_path: Path, stages: str, part: str) -> None:
    assert part in str(refusal(tmp_path, f"traffic.stages={stages}", text=STAGED))


def test_a_closed_model_has_users_and_no_schedule(tmp_path: Path) -> None:
    text = PLAN.replace("rate = 10", 'arrivals = "closed"\nusers = 3\nthink_time = "20ms"')
    traffic = load(written(tmp_path, text)).traffic
    assert traffic.is_closed
    assert traffic.concurrency == 3
    assert traffic.think_time == 0.02
    assert traffic.expected_requests is None
    assert "the closed model takes no slots" in str(refusal(tmp_path, "traffic.slots=9", text=text))
    assert "needs users" in str(refusal(tmp_path, text=text.replace("users = 3\n", "")))


def test_a_plan_with_a_trace_knows_its_length(tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_text("at_s\n" + "\n".join(map(str, range(100))))
    text = PLAN.replace('rate = 10\nduration = "2m"', 'trace = "arrivals.csv"')
    plan = load(written(tmp_path, text))
    assert plan.traffic.planned_s == 100.0
    assert plan.traffic.duration == 90.0
    assert Plan.model_validate(json.loads(plan.model_dump_json(exclude_none=True))) == plan
    assert load(written(tmp_path, text), ['slo={ p99 = "1s", window = "30s" }']).thresholds
    assert "longer than the 90 s" in str(
        refusal(tmp_path, 'slo={ p99 = "1s", window = "2m" }', text=text)
    )
    limits = "limits={max_requests=99, max_minutes=5}"
    assert "holds 100 requests" in str(refusal(tmp_path, limits, text=text))
    assert "warm-up" in str(refusal(tmp_path, "traffic.warmup=2m", text=text))
    assert "none.csv" in str(refusal(tmp_path, "traffic.trace=none.csv", text=text))


def test_a_key_without_a_value_is_left_out(tmp_path: Path) -> None:
    closed = ["traffic.rate=", "traffic.arrivals=closed", "traffic.users=3", "limits.max_minutes="]
    plan = load(written(tmp_path), closed)
    assert plan.traffic.is_closed
    assert plan.limits is None


def test_traffic_beyond_this_machine_needs_limits(tmp_path: Path) -> None:
    text = PLAN.replace('target = "local"\nconfig = "digits.endpoint.toml"', 'target = "aws"')
    assert "[limits]" in str(refusal(tmp_path, text=text))
    plan = load(written(tmp_path, text), ["limits={max_requests=2000, max_minutes=5}"])
    assert plan.endpoint.url is None
    loopback = text.replace('"aws"', '"http://127.0.0.1:9"')
    assert load(written(tmp_path, loopback)).endpoint.is_loopback


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('question = "compare\n', r"plan\.toml: not valid TOML: .*line 1"),
        (PLAN.replace("[request]\npayloads", "[answers]\nlabel"), "request: is required"),
        (PLAN.replace("rate = 10", "rate = -1"), r"rate = -1: .*\nChange what .*plan.toml says"),
        ("name = 'shop'\n[variants.a]", "is an endpoint file, not a plan"),
    ],
)
def test_what_is_no_whole_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert re.search(said, str(refusal(tmp_path, text=text)))


def test_a_plan_that_is_not_there_lists_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="Built-in plans are aa, ab"):
        find("abc")
    with pytest.raises(PlanError, match="no such file"):
        find("nowhere/plan.toml")
    with pytest.raises(PlanError, match="is a folder, and a plan is a file"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(BUILT_IN.glob("*.toml")) if ".endpoint" not in path.name],
    ids=lambda path: path.name,
)
def test_built_in_plans_are_valid_and_survive_the_manifest(path: Path) -> None:
    plan = load(path)
    assert (path.parent / plan.request.payloads).is_file()
    stored = json.loads(json.dumps(plan.model_dump(mode="json", exclude_none=True)))
    assert Plan.model_validate(stored) == plan


def test_the_plan_as_run_says_what_the_command_line_set(tmp_path: Path) -> None:
    text = text_as_run(written(tmp_path), ["seed=\n6", "traffic.rate=5"])
    assert text.endswith("# set on the command line: traffic.rate=5\n")
    assert tomllib.loads(text) == tomllib.loads(PLAN)


@given(st.text(max_size=40))
def test_any_override_is_taken_or_refused_with_a_message(text: str) -> None:
    with suppress(PlanError):  # and no other error
        assert load(find("ab"), [text]).question == "compare"
