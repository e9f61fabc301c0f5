"""The notebook in docs runs from top to bottom, and holds no output of anybody's machine."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.analysis.runs import record, write_run

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_and_shows_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    took = np.random.default_rng(1).gamma(4, 5, 5200)
    records = [
        record(i, ("current", "candidate")[i % 2], i / 40, float(ms)) for i, ms in enumerate(took)
    ]
    write_run(tmp_path / "reports" / "20260131-120000-ab-1a2b", records)
    (tmp_path / "docs").mkdir()
    place = {"metadata": {"path": str(tmp_path / "docs")}}
    NotebookClient(notebook, timeout=60, resources=place).execute()
    outputs = [cell.outputs[-1].data for cell in notebook.cells if cell.cell_type == "code"]
    assert outputs[0]["text/plain"] == "'20260131-120000-ab-1a2b'"
    assert "current" in outputs[1]["text/html"]
    assert outputs[-1]["text/html"].startswith('<iframe srcdoc="&lt;!doctype html&gt;')
