"""One Chromium for all tests of a process, and the pages that they look at."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis import render
from analysis.render import json
from tests.analysis.render.conftest import MADE, page_of
from tests.browser.chromium import Chromium, Page
from tests.sdks.clients import unavailable

AXE = Path(sys.prefix) / "npm" / "node_modules" / "axe-core" / "axe.min.js"
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        unavailable("Chromium is not installed: apt-get install chromium")
    browser = Chromium(str(program), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.is_file():
        unavailable(f"axe-core is not installed: npm install --prefix {AXE.parents[2]} axe-core")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports with their index; the page of each is written when it is opened."""
    folder = tmp_path_factory.mktemp("pages")
    for name, report in MADE.items():
        (folder / name).mkdir()
        (folder / name / "report.json").write_text(json.render(report), encoding="utf-8")
        (folder / name / "report.html").touch()
    render.write_index(folder)
    return folder


@pytest.fixture
def opened(chromium: Chromium, pages: Path) -> Iterator[Open]:
    """Open the page of a report by its name, or of an index by "index"."""
    made: list[Page] = []

    def open_page(name: str, **options: object) -> Page:
        file = pages / "index.html" if name == "index" else pages / name / "report.html"
        if not file.stat().st_size:
            file.write_text(page_of(MADE[name]), encoding="utf-8")
        made.append(Page(chromium, file.as_uri(), **options))
        return made[-1]

    yield open_page
    for page in made:
        page.close()
