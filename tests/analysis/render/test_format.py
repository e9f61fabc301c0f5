import math
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.render import format as write
from analysis.results.values import Estimate, Interval

FINITE = st.floats(-1e12, 1e12)


def estimate(value, low, high):
    interval = Interval(low=low, high=high, level=0.95)
    return Estimate(value=value, interval=interval, interval_90=interval)


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0.0, "0 ms"), (-0.0, "0 ms"), (0.0004, "0 ms"), (0.0412, "0.041 ms"),
        (0.9996, "1.00 ms"), (1.5, "1.50 ms"), (9.996, "10.0 ms"), (41.14, "41.1 ms"),
        (99.95, "100 ms"), (151.4, "151 ms"), (1234.4, "1,234 ms"), (9999.4, "9,999 ms"),
        (9999.6, "10.0 s"), (12_345.0, "12.3 s"), (1_234_567.0, "1,235 s"),
        (None, "\u2013"), (math.nan, "\u2013"), (math.inf, "\u2013"),
    ],
)  # fmt: skip
def test_a_latency_has_three_digits_and_its_unit(ms, said):
    assert write.latency(ms) == said


@pytest.mark.parametrize(
    ("ms", "said"), [(2.1, "+2.10 ms"), (-2.1, "\u22122.10 ms"), (0, "0 ms"), (-0.0001, "0 ms")]
)
def test_a_signed_latency_has_a_true_minus_and_no_signed_zero(ms, said):
    assert write.latency(ms, sign=True) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0%"), (1, "100%"), (0.0002, "0.020%"), (0.00417, "0.42%"), (0.5, "50.0%"),
        (0.984, "98.4%"), (0.99971, "99.971%"), (0.9999999, "99.999990%"), (None, "\u2013"),
    ],
)  # fmt: skip
def test_only_an_exact_share_is_nothing_or_all(share, said):
    assert write.share(share) == said


@pytest.mark.parametrize(
    ("ratio", "value", "bare", "full"),
    [
        ((0.918, 0.899, 0.937), "-8.2%", "-10.1 to -6.3", "-10.1 to -6.3%"),
        ((10.0, 9.5, 10.6), "+900%", "+850 to +960", "+850 to +960%"),
        ((1, 0.9998, 1.0002), "0.00%", "-0.02 to +0.02", "-0.02 to +0.02%"),
        ((1.03, None, 1.19), "+3.0%", "unbounded to +19.0", "unbounded to +19.0%"),
        ((1.03, 0.956, None), "+3.0%", "-4.4 to unbounded", "-4.4% to unbounded"),
        ((1.03, None, None), "+3.0%", "unbounded", "unbounded"),
        ((1.03, -math.inf, math.inf), "+3.0%", "unbounded", "unbounded"),
    ],
)
def test_a_change_and_its_interval_have_the_same_decimals(ratio, value, bare, full):
    made = write.ratio_change(estimate(*ratio))
    assert [said.replace("\u2212", "-") for said in made] == [value, bare, full]


@pytest.mark.parametrize(
    ("points", "value", "bare"),
    [
        ((0.0, -0.0003, 0.0003), "0.00 pp", "-0.03 to +0.03"),
        ((0.00001, 0.000005, 0.000012), "+0.0010 pp", "+0.0005 to +0.0012"),
    ],
)
def test_a_difference_of_shares_is_in_points(points, value, bare):
    made = write.points_change(estimate(*points))
    assert [said.replace("\u2212", "-") for said in made] == [value, bare, f"{bare} pp"]


def test_a_change_without_an_interval_is_a_value_alone():
    assert write.percent_change(0.2, None) == ("\u221280.0%", "\u2013", "\u2013")
    assert write.percent_change(3.5, None) == ("+250%", "\u2013", "\u2013")


def test_a_change_that_is_not_known_is_none():
    assert write.ratio_change(None) == write.NO_CHANGE
    assert write.points_change(None) == write.NO_CHANGE
    assert write.ratio_change(estimate(math.nan, None, None)) == write.NO_CHANGE


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.96, "0.96"), (0.0421, "0.042"), (0.0099, "0.010"), (0.0009, "< 0.001"), (1, "1.0")],
)
def test_a_p_value_is_never_nothing(p, said):
    assert write.p_value(p) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (4.5, "4.5 s"), (30, "30 s"), (59.7, "1 min"), (125, "2 min 5 s"),
        (600, "10 min"), (3599.6, "1 h"), (3900, "1 h 5 min"), (None, "\u2013"),
    ],
)  # fmt: skip
def test_a_duration_is_in_the_units_one_would_say(seconds, said):
    assert write.duration(seconds) == said


@pytest.mark.parametrize(
    ("rps", "said"),
    [(80.0, "80 req/s"), (79.98, "80 req/s"), (0.5, "0.5 req/s"), (1234.5, "1,234 req/s")],
)
def test_a_rate_has_no_idle_zeros(rps, said):
    assert write.rate(rps) == said


@pytest.mark.parametrize(
    ("unit", "margin", "said"),
    [
        ("ms", 0.05, "±5%"), ("ms", 0.075, "±7.5%"), ("share", 0.005, "±0.5 pp"),
        ("share", 0.001, "±0.1 pp"), ("ms", None, None),
    ],
)  # fmt: skip
def test_a_margin_is_written_as_the_plan_has_it(unit, margin, said, reports):
    of = reports["slower"].differences[0]
    assert write.margin(replace(of, unit=unit, margin=margin)) == said


@pytest.mark.parametrize(
    ("q", "said"), [(0, "min"), (0.5, "p50"), (0.999, "p99.9"), (0.29, "p29"), (1, "max")]
)
def test_a_quantile_is_written_as_a_percentile(q, said):
    assert write.quantile(q) == said


def test_counts_have_thousands_separators():
    assert write.count(1_234_567) == "1,234,567"
    assert write.counted(1, "request") == "1 request"
    assert write.counted(0, "request") == "0 requests"


@pytest.mark.parametrize(
    ("call", "measure", "said"),
    [
        ("worse", "response", "▲ slower"),
        ("better", "service", "▼ faster"),
        ("worse", "outcome", "▲ more errors"),
        ("better", "outcome", "▼ fewer errors"),
        ("same", "outcome", "≈ no difference that matters"),
        ("undecided", "response", "? cannot tell yet"),
        ("refused", "response", "\u2013 no verdict"),
    ],
)
def test_calls_have_a_sign_and_a_word(call, measure, said, reports):
    of = replace(reports["slower"].differences[0], call=call, measure=measure)
    assert write.call_word(of) == said
    imprecise = said if call == "refused" else "? imprecise"
    assert write.call_word(replace(of, precision="imprecise")) == imprecise


def value_of(text: str) -> float:
    return float(text.replace("\u2212", "-").replace(",", "").replace("+", ""))


@settings(deadline=None)
@given(st.floats(1e-2, 1e9))
def test_a_latency_reads_back_within_half_a_unit_of_its_third_digit(ms):
    value, unit = write.latency(ms).split()
    back = value_of(value) * {"ms": 1, "s": 1000}[unit]
    # Below 0.1 ms the clock's microsecond is the last digit.
    assert abs(back - ms) <= max(0.0051 * ms, 0.00051)


@settings(deadline=None)
@given(FINITE)
def test_no_number_has_a_hyphen_or_is_signed_zero(value):
    for said in (write.latency(value, sign=True), write.number(value, 2, sign=True)):
        assert "-" not in said
        number = said.split()[0]
        if not number.strip("+\u22120.,"):
            assert number[0] == "0"


@settings(deadline=None)
@given(FINITE, FINITE, FINITE)
def test_no_interval_ends_in_a_number_on_the_wrong_side(a, b, c):
    low, value, high = sorted((a, b, c))
    made = write.points_change(estimate(value, low, high))
    first, last = made.interval.split(" to ")
    shown = value_of(made.value.split()[0])
    assert value_of(first) <= shown <= value_of(last)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_a_share_rounds_to_nothing_or_all_only_beyond_seven_decimals(share):
    said = write.share(share)
    if said in {"0%", "100%"}:
        assert share in {0, 1}
    else:
        assert abs(value_of(said[:-1]) - 100 * share) <= 0.051


@settings(deadline=None)
@given(st.text(), st.integers(4, 40))
def test_plain_text_is_one_short_line_without_control_characters(text, limit):
    made = write.plain(text, limit)
    assert len(made) <= limit
    assert made.splitlines() in ([], [made])
    assert not [c for c in made if unicodedata.category(c).startswith("C")]
    assert write.plain(made, limit) == made


def test_plain_text_keeps_head_and_tail():
    assert write.plain("current-model-v1", 12) == "current-…-v1"


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(0.0016, "\u221299.8%"), (0.0002, "\u221299.98%"), (0.1, "\u221290.0%"), (2.0, "+100%")],
)
def test_a_fall_to_nearly_nothing_is_not_one_of_100_percent(ratio, said):
    assert write.percent_change(ratio, None).value == said
    assert write.ratio_change(estimate(ratio, ratio, ratio)).value == said


def test_a_count_that_is_too_small_begins_a_sentence():
    said = [write.few(n, "request") for n in (0, 1, 2)]
    assert said == ["No request", "Only 1 request", "Only 2 requests"]
