"""Bodies are read from lines, folders and Parquet; a model is never told the answer."""

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments import payloads
from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.plan_file import find, load

AB = load(find("ab"))


def plan_for(source: str = "rows.jsonl", label: str | None = None, **request: str) -> Plan:
    table = AB.model_dump(mode="json", exclude_none=True)
    table["request"] = {"payloads": source, **request}
    table["answers"] = {"label": label} if label else {}
    return Plan.model_validate(table)


def test_a_line_is_a_body_and_empty_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"1,2\r\n\n3,4")
    found = payloads.load(plan_for("rows.csv"), tmp_path / "plan.toml")
    told = [(p.name, p.body, p.label) for p in found]
    assert told == [("line 1", b"1,2", None), ("line 3", b"3,4", None)]


def test_the_label_is_taken_out_of_the_body(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": [1, 2], "label": 7}\n{"label": "cat", "x": 3}\n')
    found = payloads.load(plan_for("rows.jsonl", "label"), tmp_path / "plan.toml")
    assert [json.loads(p.body) for p in found] == [{"x": [1, 2]}, {"x": 3}]
    assert [p.label for p in found] == ["7", "cat"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"x": 2}', 'line 2 has no field "label"'),
        (b'{"x": 2, ', "line 2 is not JSON: Expecting property name"),
        (b'{"x": "\xff", "label": 7}', "line 2 is not JSON: 'utf-8' codec"),
        (b"[" * 100_000, "line 2 is not JSON: maximum recursion"),
    ],
)
def test_a_line_without_the_label_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"x": 1, "label": 7}\n' + line)
    with pytest.raises(PlanError, match=said):
        payloads.load(plan_for("rows.jsonl", "label"), tmp_path / "plan.toml")


def test_a_folder_gives_a_body_a_file_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "bodies"
    folder.mkdir()
    (folder / "b.bin").write_bytes(b"\x00\xff")
    (folder / "a.txt").write_bytes(b"hello\n")
    (folder / ".hidden").write_bytes(b"x")
    found = payloads.load(plan_for("bodies"), tmp_path / "plan.toml")
    assert [(p.name, p.body) for p in found] == [("a.txt", b"hello\n"), ("b.bin", b"\x00\xff")]


def test_a_parquet_file_gives_its_body_column(tmp_path: Path) -> None:
    table = pa.table({"body": ["a", "b"], "truth": [1, 2], "other": [0, 0]})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = payloads.load(plan_for("rows.parquet", "truth"), tmp_path / "plan.toml")
    assert [(p.body, p.label) for p in found] == [(b"a", "1"), (b"b", "2")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("gone.jsonl", None, "No such file"), ("empty.jsonl", b"\n\n", "holds no payload")],
)
def test_what_cannot_be_sent_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PlanError, match=said) as caught:
        payloads.load(plan_for(name), tmp_path / "plan.toml")
    assert "request.payloads" in str(caught.value)


def test_the_table_names_bodies_by_hash_and_never_holds_one(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(b"secret-body")
    found = payloads.load(plan_for("rows.txt"), tmp_path / "plan.toml")
    payloads.write_table(found, tmp_path / "payloads.parquet")
    row = pq.read_table(tmp_path / "payloads.parquet").to_pylist()[0]
    digest = hashlib.sha256(b"secret-body").hexdigest()
    assert row == {"payload": 0, "name": "line 1", "hash": digest, "label": None, "bytes": 11}
    assert b"secret-body" not in (tmp_path / "payloads.parquet").read_bytes()


def test_fields_that_parameters_name_are_taken_out(tmp_path: Path) -> None:
    varied = {"session_id": "{payload.user}", "target_model": "{payload.model}"}
    lines = '{"x": 1, "user": "u1", "model": 5, "label": "a"}\n{"user": "u2", "model": "m"}\n'
    (tmp_path / "rows.jsonl").write_text(lines)
    where = tmp_path / "plan.toml"
    first, second = payloads.load(plan_for(**varied), where)
    assert (first.body, first.fields) == (b'{"x":1,"label":"a"}', {"user": "u1", "model": "5"})
    assert (second.body, second.fields) == (b"{}", {"user": "u2", "model": "m"})
    with pytest.raises(PlanError, match=r'line 2 has no field "label", which answers\.label names'):
        payloads.load(plan_for(label="label", **varied), where)
    with pytest.raises(PlanError, match=r'line 1 has no field "no", which \[request\] names'):
        payloads.load(plan_for(session_id="{payload.no}"), where)


def test_fields_are_columns_of_parquet(tmp_path: Path) -> None:
    table = pa.table({"body": ["{}", "{}"], "model": ["a", "b"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    asked = plan_for("rows.parquet", target_model="{payload.model}")
    found = payloads.load(asked, tmp_path / "plan.toml")
    assert [each.fields for each in found] == [{"model": "a"}, {"model": "b"}]
    assert payloads.set_hash(found) != payloads.set_hash(tuple(reversed(found)))


@pytest.mark.parametrize("name", ["pipe.jsonl", "pipe.parquet"])
def test_what_never_ends_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(PlanError, match="neither a file nor a folder"):
        payloads.load(plan_for(name), tmp_path / "plan.toml")


@pytest.mark.parametrize("character", ["\n", "\r\nX-Other: 1", "\0", "\x7f"])
def test_a_field_that_no_header_can_hold_is_refused(tmp_path: Path, character: str) -> None:
    lines = (json.dumps({"user": user}) for user in ("u1", f"u{character}2"))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    plan = plan_for(session_id="{payload.user}")
    with pytest.raises(PlanError, match=r'rows\.jsonl: line 2 has a control character in "user"'):
        payloads.load(plan, tmp_path / "plan.toml")
