import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from analysis.render import markdown, tables

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def drawing(low, high):
    return tables.Drawing(value=(low + high) / 2, low=low, high=high, margin=0.1)


def kinds(text):
    return [child.type for token in GITHUB.parse(text) for child in (token.children or [])]


def test_the_verdict_is_the_heading(reports):
    tokens = GITHUB.parse(markdown.render(reports["slower"]))
    assert tokens[0].tag == "h3"
    assert tokens[1].content.startswith("✗ Don")


def test_every_row_of_a_table_has_the_cells_of_its_head(any_report):
    widths = []
    for token in GITHUB.parse(markdown.render(any_report)):
        if token.type == "tr_open":
            widths.append(0)
        elif token.type in {"td_open", "th_open"}:
            widths[-1] += 1
    assert set(widths) <= {4, 5, 6, 7, 9}
    rows = 2 * len(any_report.differences) + len(any_report.errors)
    assert rows == 0 or len(widths) > rows / 2


def test_foreign_text_is_nothing_but_text(reports):
    made = markdown.render(reports["hostile"])
    types = set(kinds(made))
    assert not types & {"link_open", "image", "em_open", "s_open"}
    parts = [child for token in GITHUB.parse(made) for child in token.children or []]
    assert {part.content for part in parts if part.type == "html_inline"} == {"<br>"}
    blocks = [token for token in GITHUB.parse(made) if token.type == "html_block"]
    assert {line for token in blocks for line in token.content.split("\n")} <= {
        "<details><summary>Service time, from when each request left</summary>",
        "</details>",
        "",
    }
    assert "@team" not in made.replace("`", "").split("| arm |")[0]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab `*_[]()<>|~\\&#!@\n"), max_size=40))
def test_escaped_text_reads_as_it_was_written(text):
    tokens = GITHUB.parse(f"x {markdown.text(text)}")
    said = "".join(child.content for child in tokens[1].children if child.type == "text")
    assert said.replace("\u200b", "").split() == ["x", *text.split()]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab `|\\<"), min_size=1, max_size=30))
def test_a_code_span_holds_whatever_it_is_given(text):
    table = f"| a | b |\n|---|---|\n| {markdown.code(text)} | end |\n"
    cells = [t for t in GITHUB.parse(table) if t.type == "inline"]
    assert cells[-1].content == "end"
    spans = [child for child in cells[-2].children if child.type == "code_inline"]
    assert [span.content.split() for span in spans] == [text.split()]


@pytest.mark.parametrize(
    ("made", "drawn"),
    [
        (drawing(-0.1, 0.1), "···██···"),
        (drawing(0.01, 0.02), "····█···"),
        (drawing(-0.02, -0.01), "···█····"),
        (drawing(0.5, 1.0), "······██"),
        (drawing(-1.0, -0.99), "█·······"),
        (drawing(1.2, 9.0), "·······▸"),
        (drawing(-9.0, -1.2), "◂·······"),
        (drawing(-9.0, 0.2), "◂████···"),
        (drawing(-9.0, 9.0), "◂██████▸"),
    ],
)
def test_a_bar_shows_where_an_interval_lies(made, drawn):
    assert markdown.bar(made) == drawn


@settings(deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9))
def test_a_bar_has_eight_cells(a, b):
    assert len(markdown.bar(drawing(min(a, b), max(a, b)))) == 8


def test_smoothed_percentiles_are_folded_away(reports):
    made = markdown.render(reports["faster"])
    summary = next(line for line in made.splitlines() if "smoothed over their neighbours" in line)
    assert summary.startswith("<details><summary>Percentiles smoothed")
    assert (
        "| p90 over p60\u2013p97.5 | \u221280.0% | \u221281.0 to \u221279.0% | disagrees |"
    ) in made
    assert "- p90: its smoothed change disagrees: no overlap.\n" in made
    assert "smoothed" not in markdown.render(reports["slower"])
