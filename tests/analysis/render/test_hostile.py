"""Names and messages of any kind stay text, of a bearable length, in whatever is written."""

import re

import pytest

from analysis.compare import Comparison
from analysis.render import github, html, index, json, junit, markdown, text


def of_index(report, folder):
    run = folder / "<img src=x onerror=y>"
    run.mkdir()
    (run / "report.json").write_text(json.render(report), encoding="utf-8")
    return index.render(folder)


RENDERERS = {
    # The plan as run is shown whole.
    "html": lambda report, _: re.sub("<pre.*?</pre>", "", html.render(report), flags=re.S),
    "markdown": lambda report, _: markdown.render(report),
    "text": lambda report, _: text.render(report),
    "junit": lambda report, _: junit.render(report),
    "github": lambda report, _: "\n".join(github.annotations(report)),
    "index": of_index,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_hostile_text_neither_controls_nor_floods(reports, tmp_path, name):
    made = RENDERERS[name](reports["hostile"], tmp_path)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", made)
    assert max(map(len, re.findall("x+", made)), default=0) <= 2000
    if name in {"html", "index", "junit"}:
        assert not re.search(r"<script|<img src=x|\"\s*onerror", made)


def test_a_notebook_has_the_page_in_a_frame_and_nothing_beside_it(reports):
    (frame,) = re.findall("<[^>]*>", Comparison(report=reports["hostile"])._repr_html_())[:-1]
    attributes = dict(re.findall(r'(\w+)="([^"]*)"', frame))
    assert set(attributes) == {"srcdoc", "title", "style"}
    assert "<script>" not in attributes["title"]
    assert "&lt;h1&gt;&amp;lt;script&amp;gt;" in attributes["srcdoc"]


def test_json_gives_hostile_text_back_as_it_was(reports):
    made = json.render(reports["hostile"])
    assert json.parse(made) == reports["hostile"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", made)
