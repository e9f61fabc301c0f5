from pathlib import Path

import pytest

from experiments import plan_file
from experiments.errors import PlanError
from experiments.local import config
from experiments.local.process import Announcement

VALID = """
name = "digits"
model_timeout = "2s"
[variants.current]
instance_type = "ml.c6i.large"
model = "digits-forest"
[variants.copy]
weight = 0
instances = 2
model = "digits-forest"
[variants.other]
url = "http://127.0.0.1:9000"
[variants.sim]
simulated = { distribution = "lognormal", median = "20ms", sigma = 0.3, workers = 4 }
[variants.fixed]
simulated = { constant = "5ms" }
"""


def load(tmp_path: Path, text: str) -> config.Endpoint:
    file = tmp_path / "e.toml"
    file.write_text(text)
    return config.load(file)


def test_a_file_with_every_kind_of_variant_is_read(tmp_path: Path) -> None:
    endpoint = load(tmp_path, VALID)
    assert (endpoint.name, endpoint.region, endpoint.model_timeout) == ("digits", "us-east-1", 2.0)
    assert list(endpoint.variants) == ["current", "copy", "other", "sim", "fixed"]
    current, copy, other, sim, fixed = endpoint.variants.values()
    assert (current.weight, current.instances, current.model) == (1.0, 1, "digits-forest")
    assert (copy.weight, copy.instances, copy.instance_type) == (0.0, 2, "ml.m5.large")
    assert other.url == "http://127.0.0.1:9000"
    assert sim.simulated is not None
    assert (sim.simulated.median, sim.simulated.sigma, sim.simulated.workers) == (0.02, 0.3, 4)
    assert fixed.simulated is not None
    assert (fixed.simulated.constant, fixed.simulated.workers) == (0.005, 1)


def test_the_built_in_endpoint_file_is_valid() -> None:
    endpoint = config.load(plan_file.BUILT_IN / "digits.endpoint.toml")
    models = {name: variant.model for name, variant in endpoint.variants.items()}
    assert models == {"current": "digits-forest", "candidate": "digits-svm"}


A = "[variants.a]\n"
SVM = f'{A}model = "digits-svm"\n'
SIM = f'{A}simulated = {{ constant = "1ms" }}\n'
WRONG = [
    ('name = "x', "not valid TOML"),
    ("", "variants: is required"),
    ("body_limit = 0", "body_limit = 0: must be greater than 0"),
    (f'region = "r"\n{SVM}', 'region = "r": must match'),
    ("[variants]", "variants: must have at least 1 item"),
    (f'{A}model = "svn"', "variants.a.model = \"svn\": must be 'digits-forest' or 'digits-svm'"),
    (f"{SVM}wieght = 1", "variants.a.wieght: there is no such key|variants.a.weight"),
    ('question = "load"', "is a plan, not an endpoint file"),
    (f"{SVM}weight = -1", "variants.a.weight = -1: must be greater than or equal to 0"),
    (f"{SVM}weight = 0", "the weight of at least one variant must be above 0"),
    (
        f'{SVM}url = "http://127.0.0.1"',
        "variants.a: needs exactly one of model, url, simulated, models, containers and "
        "components; it has model and url",
    ),
    (A, "it has none"),
    (
        '[variants.a.models.m]\nload = "1s"',
        "variants.a.models.m: needs exactly one of model, url and simulated; it has none",
    ),
    (
        '[variants.a.components.c]\nsimulated = { constant = "1s" }\n'
        '[variants.b.components.c]\nsimulated = { constant = "1s" }',
        "the component c is of 2 variants",
    ),
    (
        f"{SIM}[variants.a.autoscaling]\nmax = 2\ninvocations_per_instance = 9.0\n"
        'activities = [{ at = "0s", instances = 3 }]',
        "autoscaling.activities has more instances than 2",
    ),
    (
        f"{SIM}autoscaling = {{ min = 3, max = 2, invocations_per_instance = 9.0 }}",
        "variants.a.autoscaling: min is 3 and max is 2",
    ),
    (f"{SIM}managed = {{ min = 3, max = 2 }}", "variants.a.managed: min is 3 and max is 2"),
    (f'pending = {{ config = "a b" }}\n{SIM}', 'pending.config = "a b": must match'),
    *[
        (
            f'[variants.a.{parts}.c]\nload = "1s"\nsimulated = {{ constant = "1s" }}',
            "variants.a: load can be of one of models only",
        )
        for parts in ("containers", "components")
    ],
    (
        f'[keys.local]\nsecret_access_key = "s"\naccount = "999999999999"\n{SIM}',
        "keys.local has the id of the endpoint's own key",
    ),
    (
        f'{A}url = "https://127.0.0.1/p"',
        'variants.a.url = "https://127.0.0.1/p": must match pattern',
    ),
    (f'{A}url = "http://127.0.0.1:http"', "variants.a.url"),
    (
        f'{A}simulated = {{ distribution = "lognormal", sigma = 0.3 }}',
        'variants.a.simulated: distribution = "lognormal" needs median and sigma; it has sigma',
    ),
    (
        f'{A}simulated = {{ constant = "20" }}',
        'variants.a.simulated.constant = "20": must be a duration such as',
    ),
    (
        f'{SVM}[[variants.a.pauses]]\nfor = "1s"',
        "variants.a: pauses can be of a simulated variant only",
    ),
    (
        f"{SIM}instances = 2\ninstance_factors = [1, 2, 3]",
        "variants.a: instance_factors has 3 values for 2 instances",
    ),
    (f'[[faults]]\nkind = "reset"\nvariant = "b"\n{SIM}', "faults.0: variant b is none of a"),
    (
        f'[[faults]]\nkind = "reset"\nvariant = "a"\ninstance = 2\n{SIM}',
        "faults.0: variant a has no instance 2; it has 1",
    ),
    (f'[[faults]]\nkind = "throttle"\n{SIM}', 'faults.0: kind = "throttle" needs above'),
    (
        f'[[episodes]]\nfor = "1s"\nfactor = 2\nevry = "2s"\n{SIM}',
        "episodes.0.evry: there is no such key|episodes.0.every",
    ),
    (
        f'{A}simulated = {{ distribution = "empirical", file = "t.csv" }}',
        "variants.a.simulated.file",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """What is said may be followed by the key that was meant."""
    with pytest.raises(PlanError) as caught:
        load(tmp_path, f'name = "x"\n{text}')
    message, _, meant = said.partition("|")
    assert str(tmp_path / "e.toml") in caught.value.message
    assert message in caught.value.message
    assert not meant or f'Did you mean "{meant}"?' in caught.value.hint


def test_no_secret_is_in_a_text_of_the_endpoint(tmp_path: Path) -> None:
    secrets = '[keys.k]\nsecret_access_key = "hidden1"\nsession_token = "hidden2"\naccount = '
    text = f'secret_access_key = "hidden3"{VALID}{secrets}"999999999999"'
    assert "hidden" not in repr(load(tmp_path, text))
    keys = {"secret_access_key": "hidden", "access_key_id": "a", "region": "r"}
    announced = {"url": "u", "port": 1, "endpoint": "e", "variants": ()}
    assert "hidden" not in repr(Announcement(**keys, **announced))  # type: ignore[arg-type]


def test_every_wrong_key_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(tmp_path, 'name = "x"\nacount = 1\n[variants.a]\nmodel = 3\nweight = "much"')
    assert len(caught.value.message.splitlines()) == 3
    assert 'Did you mean "account"?' in caught.value.hint


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.toml: cannot be read"):
        config.load(tmp_path / "none.toml")
