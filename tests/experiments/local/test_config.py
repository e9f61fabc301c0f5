from pathlib import Path

import pytest

from experiments import plan_file
from experiments.errors import PlanError
from experiments.local import config, sigv4
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


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('name = "x', "not valid TOML", ""),
        ('name = "x"', "variants: is required", ""),
        ('name = "x"\nbody_limit = 0', "body_limit = 0: must be greater than 0", ""),
        ('name = "a b"\n[variants.a]\nmodel = "digits-svm"', 'name = "a b": must match', ""),
        ('name = "x"\n[variants]', "variants: must have at least 1 item", ""),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svn"',
            "variants.a.model = \"digits-svn\": must be 'digits-forest' or 'digits-svm'",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svm"\nwieght = 1',
            "variants.a.wieght: there is no such key",
            'Did you mean "weight"?',
        ),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svm"\nweight = -1',
            "variants.a.weight = -1: must be greater than or equal to 0",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svm"\nweight = 0',
            "the weight of at least one variant must be above 0",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svm"\nurl = "http://127.0.0.1"',
            "variants.a: needs exactly one of model, url, simulated, models, containers and "
            "components; it has model and url",
            "",
        ),
        ('name = "x"\n[variants.a]', "it has none", ""),
        (
            'name = "x"\n[variants.a.models.m]\nload = "1s"',
            "variants.a.models.m: needs exactly one of model, url and simulated; it has none",
            "",
        ),
        (
            'name = "x"\n[variants.a.components.c]\nsimulated = { constant = "1s" }\n'
            '[variants.b.components.c]\nsimulated = { constant = "1s" }',
            "the component c is of 2 variants",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nsimulated = { constant = "1s" }\n[variants.a.autoscaling]\n'
            'max = 2\ninvocations_per_instance = 9.0\nactivities = [{ at = "0s", instances = 3 }]',
            "autoscaling.activities has more instances than 2",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nsimulated = { constant = "1s" }\n'
            "autoscaling = { min = 3, max = 2, invocations_per_instance = 9.0 }",
            "variants.a.autoscaling: min is 3 and max is 2",
            "",
        ),
        *[
            (
                f'name = "x"\n[variants.a.{parts}.c]\nload = "1s"\n'
                'simulated = { constant = "1s" }',
                "variants.a: load can be of one of models only",
                "",
            )
            for parts in ("containers", "components")
        ],
        (
            'name = "x"\n[keys.local]\nsecret_access_key = "s"\naccount = "999999999999"\n'
            '[variants.a]\nsimulated = { constant = "1s" }',
            "keys.local has the id of the endpoint's own key",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nurl = "https://127.0.0.1/p"',
            'variants.a.url = "https://127.0.0.1/p": must match pattern',
            "",
        ),
        (
            'name = "x"\n[variants.a]\nurl = "http://127.0.0.1:http"',
            "variants.a.url",
            "",
        ),
        (
            'name = "x"\n[variants.a]\nsimulated = { distribution = "lognormal", sigma = 0.3 }',
            'variants.a.simulated: distribution = "lognormal" needs median and sigma; it has sigma',
            "",
        ),
        (
            'name = "x"\n[variants.a]\nsimulated = { constant = "20" }',
            'variants.a.simulated.constant = "20": must be a duration such as',
            "",
        ),
        (
            'name = "x"\n[variants.a]\nmodel = "digits-svm"\n[[variants.a.pauses]]\nfor = "1s"',
            "variants.a: pauses can be of a simulated variant only",
            "",
        ),
        (
            'name = "x"\n[variants.a]\ninstances = 2\ninstance_factors = [1, 2, 3]\n'
            'simulated = { constant = "1ms" }',
            "variants.a: instance_factors has 3 values for 2 instances",
            "",
        ),
        (
            'name = "x"\n[[faults]]\nkind = "reset"\nvariant = "b"\n[variants.a]\n'
            'simulated = { constant = "1ms" }',
            "faults.0: variant b is none of a",
            "",
        ),
        (
            'name = "x"\n[[faults]]\nkind = "reset"\nvariant = "a"\ninstance = 2\n[variants.a]\n'
            'simulated = { constant = "1ms" }',
            "faults.0: variant a has no instance 2; it has 1",
            "",
        ),
        (
            'name = "x"\n[[faults]]\nkind = "throttle"\n[variants.a]\n'
            'simulated = { constant = "1ms" }',
            'faults.0: kind = "throttle" needs above',
            "",
        ),
        (
            'name = "x"\n[[episodes]]\nfor = "1s"\nfactor = 2\nevry = "2s"\n[variants.a]\n'
            'simulated = { constant = "1ms" }',
            "episodes.0.evry: there is no such key",
            'Did you mean "every"?',
        ),
        (
            'name = "x"\n[variants.a]\nsimulated = { distribution = "empirical", file = "t.csv" }',
            "variants.a.simulated.file",
            "",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(PlanError) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "e.toml") in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_no_secret_is_in_a_text_of_the_endpoint(tmp_path: Path) -> None:
    secrets = '[keys.k]\nsecret_access_key = "hidden1"\nsession_token = "hidden2"\naccount = '
    text = f'secret_access_key = "hidden3"{VALID}{secrets}"999999999999"'
    assert "hidden" not in repr(load(tmp_path, text))
    keys = {"secret_access_key": "hidden", "access_key_id": "a", "region": "r"}
    assert "hidden" not in repr(sigv4.Credentials(**keys, session_token="hidden"))
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
