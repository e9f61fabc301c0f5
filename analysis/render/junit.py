"""What does a CI system read? JUnit XML: a test case for each check, guarded metric and limit.

What is worse, broken or not trusted fails, as the verdict itself does; what cannot be told is
skipped.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple
from xml.etree import ElementTree as ET

from analysis.render import format as write
from analysis.render import slo, tables
from analysis.results.report import Report

_State = Literal["passed", "failure", "skipped"]


class _Case(NamedTuple):
    group: str
    name: str
    state: _State
    said: str


def render(report: Report) -> str:
    """Write a report as JUnit XML, in the form that Jenkins, GitLab and GitHub's actions read."""
    cases = list(_cases(report))
    states = Counter(case.state for case in cases)
    described = {
        "name": write.plain(f"abreast {report.question} {report.run.plan}"),
        "tests": str(len(cases)),
        "failures": str(states["failure"]),
        "errors": "0",
        "skipped": str(states["skipped"]),
    }
    top = ET.Element("testsuites", described)
    suite = ET.SubElement(top, "testsuite", described, timestamp=report.run.started_at, time="0")
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
        state: _State = "failure" if check.state == "fail" else "passed"
        yield _Case("checks", write.plain(check.title), state, write.check_words(check))
    trusted = report.verdict.validity != "INVALID"
    for arm, baseline in tables.compared(report):
        group = f"{write.plain(arm, 40)} against {write.plain(baseline, 40)}"
        for row in tables.rows(report, arm, "response", "service", "outcome"):
            if row.source.margin is None:
                continue
            change = f"{row.change.value} ({row.change.interval_unit}), "
            change = "" if row.change is write.NO_CHANGE else change
            said = f"{row.word}: {change}{row.baseline} to {row.arm}"
            said += f"; margin {write.margin(row.source)}"
            if row.source.reason:
                said += f"; {write.plain(row.source.reason, 300)}"
            yield _Case(group, row.label, _state(row.source.call, trusted=trusted), said)
    for limit, cells in zip(report.slo, slo.table(report).rows, strict=True):
        asks, word, where, value, missed, _, allowed = (cell.split("\n") for cell in cells)
        said = f"{word[0]}: {value[0]}; {missed[0]} missed, {allowed[0]} may"
        group = f"SLO of {write.plain(limit.arm, 40)}"
        state = _state(limit.call, trusted=trusted)
        yield _Case(group, f"{asks[1]}, {where[0]}", state, said)


def _state(call: str, *, trusted: bool) -> _State:
    if not trusted or call in ("undecided", "refused"):
        return "skipped"
    return "failure" if call in ("worse", "broken", "untrusted") else "passed"
