"""What `export` and `report --index` write, whatever stands in the records."""

import csv
import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from analysis.read import read_run
from analysis.render import index
from experiments import run_folder
from experiments.cli.commands import app
from experiments.errors import AbreastError
from experiments.record import SCHEMA
from tests.analysis.runs import record, write_run

HOSTILE = (
    "<script>alert('x')</script>", 'a,b;"c"\t\\', "line\nbreak\r\n=1+1", "שלום \u202email",
    "🚀",
    "x" * 10_240, "",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [
        record(i, "current", 0.5 * i, 20.0, error=text, outcome="other", http_status=503,
               variant_asked=text, prediction=text)
        for i, text in enumerate(HOSTILE)
    ]  # fmt: skip
    records.append(
        record(7, None, 4.0, 20.0, outcome="dropped", started_ns=None, ended_ns=None,
               http_status=None, variant_invoked=None)
    )  # fmt: skip
    return write_run(tmp_path_factory.mktemp("runs") / "<b>&run", records)


def abreast(*arguments: str) -> bytes:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    assert ended.stderr == ""
    return ended.stdout_bytes


def test_csv_holds_each_row_whole(run):
    out = abreast("export", str(run), "--as", "csv").decode()
    expected = read_run(run).requests
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert list(rows[0]) == list(expected.columns)
    assert [row["error"] for row in rows] == [*HOSTILE, ""]
    assert [row["http_status"] for row in rows] == ["503"] * 7 + [""]
    assert [float(row["response_ms"] or "nan") for row in rows[:7]] == pytest.approx([20.0] * 7)


def test_json_lines_hold_each_row_whole(run):
    out = abreast("export", str(run), "--as", "jsonl").decode()
    rows = [json.loads(line) for line in out.split("\n")[:-1]]
    expected = read_run(run).requests
    assert [row["error"] for row in rows] == [*HOSTILE, None]
    assert all(list(row) == list(expected.columns) for row in rows)
    assert rows[7]["ended_ms"] is None
    assert (rows[0]["http_status"], rows[7]["http_status"]) == (503, None)
    assert '"http_status":503,' in out
    assert rows[1]["scheduled_ms"] == 500.0


def test_parquet_comes_back_as_it_was(run, tmp_path):
    file = tmp_path / "rows.parquet"
    assert abreast("export", str(run), "--to", str(file)) == b""
    piped = abreast("export", str(run), "--as", "parquet")
    for source in (file, io.BytesIO(piped)):
        table = pq.read_table(source)
        assert all(table.schema.field(n) == SCHEMA.field(n) for n in ("seq", "http_status"))
        pd.testing.assert_frame_equal(table.to_pandas(), read_run(run).requests)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_run_without_requests_gives_a_head(tmp_path):
    out = abreast("export", str(write_run(tmp_path / "run", []))).decode()
    assert out.startswith('"seq","group","phase"')
    assert out.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_fault(run):
    export = [sys.executable, "-m", "experiments", "export", str(run)]
    # The reader is gone before the first byte comes.
    command = ["bash", "-c", '"$@" | true; echo ${PIPESTATUS[0]}', "bash", *export]
    piped = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert (piped.stdout, piped.stderr) == (b"141\n", b"")


def test_what_cannot_be_written_is_said_and_leaves_nothing(run, tmp_path):
    (tmp_path / "file").touch()
    for to in (tmp_path, tmp_path / "none" / "x.csv", tmp_path / "file" / "x.csv"):
        found = CliRunner().invoke(app, ["export", str(run), "--to", str(to)])
        assert isinstance(found.exception, AbreastError)
        assert f"--to {to}: cannot be written" in str(found.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    found = CliRunner().invoke(app, ["report", "--index", str(tmp_path / "none")])
    assert f"--index {tmp_path / 'none'}: is no folder" in str(found.exception)


def test_a_named_pipe_is_written_to_and_stays(run, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        abreast("export", str(run), "--to", str(pipe))
        assert reader.communicate(timeout=60)[0].startswith(b'"seq","group"')
    assert pipe.is_fifo()


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        assert tag not in {"script", "b"}
        self.links += [value for name, value in attributes if tag == "a" and name == "href"]

    def handle_data(self, data):
        self.said += data


def test_an_index_links_each_run_and_says_what_came_of_it(run):
    folder = run.parent
    (folder / "20260101-000000-old-1a2b").mkdir()
    (folder / "20260101-000000-old-1a2b" / "manifest.json").write_text("{")
    (folder / "20260101-000000-old-1a2b" / "requests.parquet").touch()
    abreast("report", str(run), "--quiet", "--fail-on", "")
    assert abreast("report", "--index", str(folder)).decode().endswith("index.html\n")
    page = Links((folder / "index.html").read_text(encoding="utf-8"))
    assert page.links == ["%3Cb%3E%26run/report.html"]
    assert (folder / "<b>&run" / "report.html").is_file()
    for part in ("<b>&run", "2026-01-31 12:00", "A/B comparison", "✗ Cannot be trusted", "2 runs"):
        assert part in page.said
    assert f"abreast report {folder}/20260101-000000-old-1a2b writes its report." in page.said
    # Nothing but that page was added.
    assert sorted(path.name for path in folder.iterdir()) == [
        "20260101-000000-old-1a2b", "<b>&run", "index.html"
    ]  # fmt: skip


def test_an_index_says_which_runs_go_on_and_which_never_began(tmp_path):
    for name in ("begun", "never"):
        write_run(tmp_path / name, [])
    (tmp_path / "never" / "requests.parquet").unlink()
    (tmp_path / "begun" / "requests").mkdir()
    held = run_folder.hold(run_folder.RunFolder(tmp_path / "begun"))
    said = index.render(tmp_path)
    assert "<td>running<" in said
    assert "<td>never began<" in said
    os.close(held)
    assert f"<td>not judged<small>abreast report {tmp_path}/begun writes" in index.render(tmp_path)


def test_the_error_rate_is_shown_as_guarded_whatever_the_plan_says() -> None:
    words = ["show", "ab", "--set", 'compare.margins={ p50 = "5%" }']
    assert "guarded    p50 ±5%, error_rate ±0.5 pp\n" in CliRunner().invoke(app, words).stdout
