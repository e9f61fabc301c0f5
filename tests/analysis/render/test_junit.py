"""junit.xml, read by a library of others."""

from xml.etree import ElementTree as ET

from junitparser import Failure, JUnitXml, Skipped

from analysis.render import junit


def cases_of(report):
    parsed = JUnitXml.fromstring(junit.render(report).encode())
    (suite,) = parsed
    return parsed, {(case.classname, case.name): case for case in suite}


def outcome(case):
    return {Failure: "failed", Skipped: "skipped"}.get(
        type(next(iter(case.result), None)), "passed"
    )


def test_every_check_and_guarded_metric_is_a_test_case(reports):
    parsed, cases = cases_of(reports["gate"])
    group = "candidate against current"
    found = {name: outcome(case) for (of, name), case in cases.items() if of == group}
    assert found == {"p50": "failed", "p90": "passed", "p99": "skipped", "error rate": "passed"}
    checks = {name: outcome(case) for (of, name), case in cases.items() if of == "checks"}
    assert len(checks) == len(reports["gate"].checks)
    assert set(checks.values()) == {"passed"}
    assert (parsed.tests, parsed.failures, parsed.skipped) == (8, 2, 1)
    (failure,) = cases[group, "p50"].result
    assert "✗ FAIL: +16.0% (+12.0 to +20.1%), 41.1 ms to 47.7 ms; margin ±5%" in failure.message
    (skipped,) = cases[group, "p99"].result
    assert "Only 9 requests" in skipped.message


def test_a_failed_check_fails_and_leaves_the_metrics_skipped(reports):
    _, cases = cases_of(reports["untrusted"])
    assert outcome(cases["checks", "Generator kept up"]) == "failed"
    assert outcome(cases["verdict", "Verdict"]) == "failed"
    metrics = [outcome(case) for (of, _), case in cases.items() if of not in ("checks", "verdict")]
    assert set(metrics) == {"skipped"}


def test_the_limits_of_an_slo_are_test_cases(reports):
    _, cases = cases_of(reports["load"])
    of_slo = [outcome(case) for (of, _), case in cases.items() if of == "SLO of current"]
    assert of_slo == ["passed", "failed", "failed", "skipped"]


def test_it_fails_exactly_where_the_exit_code_does(any_report):
    _, cases = cases_of(any_report)
    said = {0: "passed", 1: "failed", 3: "skipped", 4: "failed"}[any_report.verdict.exit_code]
    assert outcome(cases["verdict", "Verdict"]) == said


def test_any_report_is_xml_whose_counts_are_right(any_report):
    root = ET.fromstring(junit.render(any_report))
    (suite,) = root
    counted = {
        "tests": len(suite.findall("testcase")),
        "failures": len(suite.findall("testcase/failure")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for at in (root, suite):
        assert {key: int(at.attrib[key]) for key in counted} == counted
