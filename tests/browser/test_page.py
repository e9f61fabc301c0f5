"""The pages as a browser has them: quiet, accessible, and usable on a phone and by keyboard."""

import base64
import io
import json

import pytest
from matplotlib.image import imread

SHOWN = [
    "untrusted", "slower", "load", "gate", "capacity", "undecided", "three_arms", "hostile",
    "empty", "index",
]  # fmt: skip
NOT_COMPARED = ["capacity", "empty"]
SCHEMES = ["light", "dark"]


@pytest.mark.parametrize("name", SHOWN)
def test_a_page_is_quiet_and_accessible_and_fits_a_phone(opened, axe, name) -> None:
    page = opened(name)
    page.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.run(axe)
    for scheme in SCHEMES:
        page.media("screen", scheme)
        found = page.run("axe.run().then(found => JSON.stringify(found.violations))")
        said = [
            (each["id"], node["html"][:200], node["failureSummary"])
            for each in json.loads(found)
            for node in each["nodes"]
        ]
        assert said == [], scheme
    page.phone()
    assert page.run("document.documentElement.scrollWidth") == 375
    shown = "[...document.querySelectorAll('figure svg')].filter(each => each.checkVisibility())"
    assert page.run(f"{shown}.every(each => each.viewBox.baseVal.width == 343)")
    if name not in NOT_COMPARED:  # a finding is seen without scrolling
        ends = "[...document.querySelectorAll('.call')].map(e => e.getBoundingClientRect().right)"
        assert page.run(f"Math.max(...{ends})") <= 375
    assert page.complaints() == []
    (own, *others) = page.requested()
    assert own.startswith("file://")
    assert [url for url in others if not url.startswith("data:")] == []


def test_all_that_opens_or_scrolls_is_reached_and_worked_by_keyboard(opened) -> None:
    page = opened("slower")
    wanted = page.run("document.querySelectorAll('summary').length")
    assert wanted >= 5
    for _ in range(80):
        page.press("Tab")
        if page.run("document.activeElement.matches('summary')"):
            assert not page.run("document.activeElement.parentElement.open")
            page.press("Enter")
            assert page.run("document.activeElement.parentElement.open")
        if page.run("document.querySelectorAll('details[open]').length") == wanted:
            break
    assert page.run("document.querySelectorAll('details[open]').length") == wanted
    reached = "[...document.querySelectorAll('.scroll, pre')].every(each => each.tabIndex == 0)"
    assert page.run(reached)


def test_paper_has_the_numbers_that_the_screen_folds_away(opened) -> None:
    page = opened("faster", scheme="dark")
    table = "document.querySelector('details table').getBoundingClientRect().height"
    folded = "document.querySelector('details table').checkVisibility()"
    assert not page.run(folded)
    page.media("print", "dark")
    assert page.run(folded)
    assert page.run(table) > 0
    assert page.run("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)", "rgba(0, 0, 0, 0)",
    )  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_heat_map_is_in_the_colours_of_the_page(opened, scheme) -> None:
    # Chromium draws what lies beyond its window by other rules.
    page = opened("faster", scheme=scheme, height=6000)
    place = "document.querySelector('.wide #time-736-heat-0').getBoundingClientRect().toJSON()"
    clip = {**page.run(place), "scale": 1}
    shot = page.call("Page.captureScreenshot", clip=clip)
    pixels = imread(io.BytesIO(base64.b64decode(shot["data"])), format="png")
    height, width, _ = pixels.shape
    # The last step but one has the most requests, in bin 13 of 48 from below.
    deepest = pixels[int(height * 34.5 / 48), int(width * 61.5 / 63), :3] * 255
    empty = pixels[int(height * 20.5 / 48), int(width * 61.5 / 63), :3] * 255
    arm, paper = {"light": ([0, 114, 178], [255] * 3), "dark": ([86, 180, 233], [18, 21, 27])}[
        scheme
    ]
    assert deepest == pytest.approx(arm, abs=2)
    assert empty == pytest.approx(paper, abs=2)
