import json as standard
import math
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from analysis import render
from analysis.render import json

SCHEMA = Path(__file__).parents[3] / "reports" / "report.schema.json"


def test_the_committed_schema_is_the_generated_one():
    assert standard.loads(SCHEMA.read_text(encoding="utf-8")) == json.schema()


def test_a_report_comes_back_as_it_was(any_report):
    assert json.parse(json.render(any_report)) == any_report


def test_every_key_of_a_report_is_in_the_schema(any_report):
    schema = json.schema()

    def check(value, part):
        for option in [part, *part.get("anyOf", [])]:
            if "$ref" in option:
                part = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
            elif option.get("type") == "array" and isinstance(value, list):
                part = option
        if isinstance(value, dict) and "properties" in part:
            assert set(part["required"]) <= set(value) <= set(part["properties"])
            for key, inner in value.items():
                check(inner, part["properties"][key])
        elif isinstance(value, list):
            for inner in value:
                check(inner, part.get("items", {}))

    check(standard.loads(json.render(any_report)), schema)


def test_a_report_names_its_schema(reports):
    made = standard.loads(json.render(reports["slower"]))
    assert made["$schema"] == "report.schema.json"
    assert made["verdict"]["exit_code"] == 1


def test_what_is_missing_is_null_and_what_is_not_a_number_is_refused(reports):
    report = reports["undecided"]
    made = standard.loads(json.render(report))
    assert made["differences"][1]["ratio"]["interval"]["low"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.render(replace(report, run=replace(report.run, measured_s=math.nan)))


def test_what_does_not_follow_the_schema_is_refused():
    with pytest.raises(ValidationError):
        json.parse('{"schema_version": 1}')


def test_a_report_that_cannot_be_made_leaves_the_old_one(reports, tmp_path):
    render.write(reports["faster"], tmp_path)
    names = ["junit.xml", "report.html", "report.json", "report.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    broken = replace(reports["slower"], run=replace(reports["slower"].run, measured_s=math.inf))
    with pytest.raises(ValueError, match="not JSON compliant"):
        render.write(broken, tmp_path)
    assert json.parse((tmp_path / "report.json").read_text("utf-8")) == reports["faster"]
