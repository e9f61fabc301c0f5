"""Arms told apart by anything that InvokeEndpoint has for it, up to endpoints of their own."""

import json
from pathlib import Path

import pytest

import analysis
from experiments.errors import EndpointError
from experiments.plan_file import load
from experiments.reach import check_endpoint
from tests.analysis.runs import record, write_run
from tests.end_to_end.conftest import NO_VERDICT, Command, manifest_of, only_run

FILES = {
    "shop": """
name = "shop"
also = ["green.endpoint.toml"]
[variants.AllTraffic]
instances = 2
simulated = { constant = "4ms", workers = 8 }
[variants.many]
weight = 0
models."small.tar.gz".simulated = { constant = "8ms", workers = 8 }
[variants.chain]
weight = 0
containers.first.simulated = { constant = "12ms", workers = 8 }
[variants.pool]
weight = 0
components.ranker.simulated = { constant = "16ms", workers = 8 }
""",
    "green": """
name = "green"
[variants.AllTraffic]
instance_type = "ml.c6i.large"
instances = 2
simulated = { constant = "20ms", workers = 8 }
""",
}
ARMS = {
    "variant": (4, 'target_variant = "AllTraffic"'),
    "model": (8, 'target_variant = "many", target_model = "small.tar.gz"'),
    "host": (12, 'target_variant = "chain", target_container_hostname = "first"'),
    "component": (16, 'inference_component_name = "ranker"'),
    "endpoint": (20, 'endpoint_name = "green"'),
}
"""Each arm's service time in milliseconds, and what tells it from the others."""
TWO_ENDPOINTS = 'arms={ old = { request = { endpoint_name = "shop" } }, new = { request = { endpoint_name = "green" } } }'  # noqa: E501


@pytest.fixture
def shop(plan: Path) -> Path:
    for name, text in FILES.items():
        (plan.parent / f"{name}.endpoint.toml").write_text(text)
    return plan


def test_every_way_of_telling_arms_apart_reaches_what_it_names(
    shop: Path, abreast: Command
) -> None:
    arms = ", ".join(f"{name} = {{ request = {{ {told} }} }}" for name, (_, told) in ARMS.items())
    done = abreast(
        "run", str(shop), "--set", f"arms={{ {arms} }}", "--set", "traffic.routing=pinned",
        "--set", "compare.baseline=variant", "--set", "traffic.rate=100",
    )  # fmt: skip
    assert "Right variant answered" in done.stdout, done.stderr
    folder = only_run(shop.parent / "reports")
    run = analysis.read_run(folder)
    for arm, (truth_ms, _) in ARMS.items():
        own = run.measured[run.measured["arm"] == arm]
        assert set(own["outcome"]) == {"ok"}
        assert truth_ms < float(own["service_ms"].quantile(0.1)) < truth_ms + 8
    invoked = dict(run.measured.groupby("arm")["variant_invoked"].first())
    assert (invoked["variant"], invoked["endpoint"]) == ("AllTraffic", "AllTraffic")
    manifest = manifest_of(folder)
    for what in ("endpoint", "endpoint_after"):
        assert manifest[what]["variants"]["green/AllTraffic"]["instance_type"] == "ml.c6i.large"
    assert manifest["conditions"]["instances of green/AllTraffic"] == "2 x ml.c6i.large"
    assert "model of green/AllTraffic" in manifest["subject"]


def test_two_endpoints_are_compared_pair_by_pair(
    shop: Path, abreast: Command, inside: Command
) -> None:
    done = abreast(
        "run", str(shop), "--set", TWO_ENDPOINTS, "--set", "compare.baseline=old",
        "--set", "traffic.rate=100",
    )  # fmt: skip
    assert done.returncode in NO_VERDICT, done.stderr
    folder = only_run(shop.parent / "reports")
    run = analysis.read_run(folder)
    pairs = run.requests.groupby("group")["arm"].agg(["size", "nunique"])
    assert (pairs[:-1] == 2).all(axis=None)  # the end may cut the last
    payloads = run.requests.groupby("group")["payload"].nunique()
    assert (payloads == 1).all()
    report = json.loads((folder / "report.json").read_text())
    p50 = next(each for each in report["differences"] if each["metric"] == "p50")
    assert (p50["baseline"], p50["arm"]) == ("old", "new")
    assert 12 < p50["arm_value"] - p50["baseline_value"] < 24  # 20 ms against 4 ms
    plain = inside(
        "run", str(shop), "--dry-run", "--set", TWO_ENDPOINTS, "--set", "compare.baseline=old"
    )
    assert "first      2 before the clock starts" in plain.stdout, plain.stderr


def test_a_plan_is_held_to_each_endpoint_of_its_file(shop: Path) -> None:
    base = [TWO_ENDPOINTS, "compare.baseline=old"]
    check_endpoint(load(shop, base), shop)
    for key, said in {
        'arms.new.request={ endpoint_name = "red" }': 'describes no endpoint "red"',
        'arms.new.request={ endpoint_name = "green", target_variant = "x" }': (
            'the endpoint "green" has no production variant "x"; it has AllTraffic'
        ),
    }.items():
        with pytest.raises(EndpointError, match=said):
            check_endpoint(load(shop, [*base, key]), shop)


def test_answers_are_held_to_the_variants_of_their_arms_endpoint(tmp_path: Path) -> None:
    rows = [
        record(i, ("old", "new")[i % 2], i / 20, 20.0, variant_asked=None,
               variant_invoked="AllTraffic")
        for i in range(2600)
    ]  # fmt: skip
    described = {"instances": 2, "instance_type": "ml.m5.large"}
    variants = {"AllTraffic": described, "green/AllTraffic": described | {"instances": 1}}
    overrides = [TWO_ENDPOINTS, "endpoint.name=shop", "compare.baseline=old"]
    for stray in (None, "blue"):
        spoilt = [
            row._replace(variant_invoked=stray) if stray and row.arm == "new" else row
            for row in rows
        ]
        path = write_run(tmp_path / str(stray), spoilt, overrides, endpoint={"variants": variants})
        report = analysis.judge(analysis.read_run(path))
        checks = {check.name: check for check in report.checks}
        assert checks["pinning"].state == ("fail" if stray else "ok")
        assert "new 66" in checks["instances"].finding
    assert "blue, which the endpoint green does not have" in checks["pinning"].finding
