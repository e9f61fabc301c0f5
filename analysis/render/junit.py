"""What does a CI system read? JUnit XML: a test case for each check, guarded metric and limit.

What is worse, broken or not trusted fails, as the verdict itself does; what cannot be told is
skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from analysis.render import format as write
from analysis.render import slo, tables
from analysis.results.report import Report


@dataclass(frozen=True, slots=True)
class _Case:
    group: str
    name: str
    state: Literal["passed", "failure", "skipped"]
    said: str


def render(report: Report) -> str:
    """Write a report as JUnit XML, in the form that Jenkins, GitLab and GitHub's actions read."""
    cases = list(_cases(report))
    count = {
        "tests": len(cases),
        "failures": sum(case.state == "failure" for case in cases),
        "errors": 0,
        "skipped": sum(case.state == "skipped" for case in cases),
    }
    numbers = {key: str(value) for key, value in count.items()}
    name = write.plain(f"abreast {report.question} {report.run.plan}")
    top = ET.Element("testsuites", {"name": name, **numbers})
    started_at = report.run.started_at
    described = {"name": name, "timestamp": started_at, "time": "0", **numbers}
    suite = ET.SubElement(top, "testsuite", described)
    for case in cases:
        at = ET.SubElement(suite, "testcase", classname=case.group, name=case.name, time="0")
        if case.state == "passed":
            ET.SubElement(at, "system-out").text = case.said
        else:
            ET.SubElement(at, case.state, message=case.said).text = case.said
    ET.SubElement(suite, "system-out").text = write.plain(report.verdict.sentence, 600)
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _cases(report: Report) -> Iterator[_Case]:
    verdict = report.verdict
    sentence = write.plain(verdict.sentence, 600)
    yield _Case("verdict", "Verdict", _state(verdict.state, trusted=True), sentence)
    for check in report.checks:
        state: Literal["passed", "failure"] = "failure" if check.state == "fail" else "passed"
        yield _Case("checks", write.plain(check.title), state, write.check_words(check))
    trusted = report.verdict.validity != "INVALID"
    for arm, baseline in tables.compared(report):
        group = f"{write.plain(arm, 40)} against {write.plain(baseline, 40)}"
        for row in tables.rows(report, arm, "response", "service", "outcome"):
            if row.source.margin is None:
                continue
            found = f"{row.baseline} to {row.arm}"
            if row.change is not None:
                found = f"{row.change.value} ({row.change.interval_unit}), {found}"
            said = f"{row.word}: {found}; margin {write.margin(row.source)}"
            if row.source.reason:
                said += f"; {write.plain(row.source.reason, 300)}"
            yield _Case(group, row.label, _state(row.source.call, trusted=trusted), said)
    for limit in slo.rows(report):
        group = f"SLO of {write.plain(limit.source.arm, 40)}"
        said = f"{limit.word}: {limit.value}; {limit.missed} missed, {limit.allowed} may"
        name = f"{limit.asks}, {limit.where}"
        yield _Case(group, name, _state(limit.source.call, trusted=trusted), said)


def _state(call: str, *, trusted: bool) -> Literal["passed", "failure", "skipped"]:
    if not trusted or call in ("undecided", "refused"):
        return "skipped"
    return "failure" if call in ("worse", "broken", "untrusted") else "passed"
