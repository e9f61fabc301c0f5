"""What each rate showed becomes one boundary, with the way in which the SLO breaks."""

import pytest

from analysis.boundary import boundary
from analysis.results.capacity import LimitAtRate, RateFound
from analysis.results.values import Interval

ANY = Interval(low=0.0, high=1.0, level=0.9)


def found(rate, call, share=0.0, *, saturated=0, metric="p99"):
    limit = LimitAtRate(
        metric=metric, limit_ms=100.0, allowed=0.01, requests=100_000,
        missed=round(100_000 * share), interval=ANY, value_ms=50.0, value_interval=ANY,
        call="undecided",
    )  # fmt: skip
    return RateFound(
        rate_rps=rate, call=call, probes=1, measured_s=30.0, requests=100_000,
        saturated=saturated, limits=(limit,),
    )  # fmt: skip


def test_the_lower_end_is_the_last_rate_but_one_that_passed():
    rates = [found(r, "pass", 0.001) for r in (80, 95, 100)] + [found(104, "fail", 0.02)]
    edge = boundary(rates, 0.05, "bracketed")
    assert (edge.low.rate_rps, edge.high.rate_rps, edge.end) == (95, 104, "smooth")


def test_the_only_rate_that_passed_is_the_lower_end():
    edge = boundary([found(100, "pass", 0.001), found(104, "fail", 0.02)], 0.05, "bracketed")
    assert edge.low.rate_rps == 100


def test_the_point_is_where_the_share_passes_what_may_miss_on_the_log():
    edge = boundary([found(100, "pass", 0.001), found(121, "fail", 0.1)], 0.05, "bracketed")
    assert edge.rate_rps == pytest.approx(110, rel=1e-3)  # a tenth, and ten times what may
    assert edge.limit == "p99"


def test_a_rate_above_the_first_that_fails_does_not_count():
    rates = [found(90, "pass"), found(95, "pass"), found(100, "fail", 0.02), found(104, "pass")]
    assert boundary(rates, 0.05, "bracketed").low.rate_rps == 90


@pytest.mark.parametrize(("share", "saturated", "end"), [(0.05, 0, "smooth"), (0.2, 0, "cliff"),
                                                         (0.02, 1, "cliff")])  # fmt: skip
def test_a_cliff_gives_no_warning(share, saturated, end):
    rates = [found(100, "pass"), found(104, "fail", share, saturated=saturated)]
    assert boundary(rates, 0.05, "bracketed").end == end


def test_all_that_passes_or_fails_is_named_so():
    passed = [found(100, "pass"), found(200, "pass")]
    failed = [found(100, "fail", 0.5), found(50, "fail", 0.5)]
    for ended in ("no_fail", "ladder"):
        assert boundary(passed, 0.05, ended).end == "no_fail"
        assert boundary(passed, 0.05, ended).low.rate_rps == 200
    for ended in ("no_pass", "ladder"):
        assert boundary(failed, 0.05, ended).end == "no_pass"
    for ended in ("limits", "too_long", "unresolved", None):
        assert boundary(passed, 0.05, ended).end == "undecided"
        assert boundary(failed, 0.05, ended).end == "undecided"


def test_too_wide_an_interval_is_undecided_but_not_on_a_ladder():
    rates = [found(100, "pass", 0.001), found(150, "fail", 0.02)]
    assert boundary(rates, 0.05, "bracketed").end == "undecided"
    assert boundary(rates, None, "ladder").end == "smooth"
    assert boundary([found(100, "unresolved", 0.01)], 0.05, "bracketed").end == "undecided"
    assert boundary([], 0.05, "bracketed").end == "undecided"


@pytest.mark.parametrize("ended", ["unresolved", "too_long"])
def test_a_search_that_gave_up_is_undecided_however_near_its_ends(ended):
    rates = [found(100, "pass", 0.001), found(104, "fail", 0.02)]
    assert boundary(rates, 0.05, ended).end == "undecided"
    assert boundary(rates, 0.05, "limits").end == "smooth"


def test_the_generator_and_what_is_invalid_come_first():
    assert boundary([found(100, "pass"), found(104, "client")], 0.05, "bracketed").end == "client"
    invalid = [found(100, "invalid"), found(104, "fail", 0.5)]
    assert boundary(invalid, 0.05, "invalid").end == "invalid"
    beyond = [found(100, "pass"), found(104, "fail", 0.02), found(200, "client")]
    assert boundary(beyond, 0.05, "bracketed").end == "smooth"
