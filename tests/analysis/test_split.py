import re

import pytest
from scipy.stats import binom, chi2, multinomial, ncx2

from analysis.split import traffic_split


def test_an_even_split_off_by_chance_is_ok():
    found = traffic_split({"a": 520, "b": 480}, {"a": 1, "b": 1})
    # (20^2 + 20^2) / 500 = 1.6 on one degree of freedom.
    assert found.p_value == pytest.approx(chi2.sf(1.6, df=1))
    assert found.state == "ok"
    assert "a 520, expected 500; b 480, expected 500" in found.finding


def test_weights_need_not_add_up_to_anything():
    one = traffic_split({"a": 8900, "b": 1100}, {"a": 0.9, "b": 0.1})
    other = traffic_split({"a": 8900, "b": 1100}, {"a": 90, "b": 10})
    assert one.p_value == pytest.approx(other.p_value)


def test_a_split_that_chance_cannot_explain_is_a_mismatch():
    # 100^2 / 9000 + 100^2 / 1000 = 11.11, beyond the 10.83 of one in a thousand.
    found = traffic_split({"a": 8900, "b": 1100}, {"a": 9, "b": 1})
    assert found.state == "mismatch"
    assert found.p_value == pytest.approx(chi2.sf(100 / 9, df=1))
    assert "b 1,100, expected 1,000" in found.finding


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 1}])
def test_a_request_to_a_variant_without_weight_is_a_mismatch(weights):
    found = traffic_split({"a": 500, "b": 510, "c": 1}, weights)
    assert found.state == "mismatch"
    assert "c got requests at weight 0" in found.finding


def test_a_variant_of_weight_0_that_took_nothing_is_no_concern():
    found = traffic_split({"a": 520, "b": 480, "c": 0}, {"a": 1, "b": 1, "c": 0})
    assert found.state == "ok"
    assert found.p_value == pytest.approx(chi2.sf(1.6, df=1))


def test_a_variant_that_took_nothing_at_all_is_a_mismatch():
    assert traffic_split({"a": 1000}, {"a": 1, "b": 1}).state == "mismatch"


def test_a_split_too_even_for_chance_is_called_deterministic():
    found = traffic_split({"a": 500_000, "b": 500_000}, {"a": 1, "b": 1})
    assert binom.pmf(500_000, 1_000_000, 0.5) < 0.001
    assert (found.state, found.p_value) == ("deterministic", 1)
    found = traffic_split({"a": 500, "b": 500, "c": 9000}, {"a": 5, "b": 5, "c": 90})
    assert multinomial.pmf([500, 500, 9000], 10_000, [0.05, 0.05, 0.9]) < 0.001
    assert found.state == "deterministic"


def test_an_even_split_of_few_requests_is_chance():
    # Of 10,000 tosses, 5,000 are heads in 0.8 % of all cases.
    assert binom.pmf(5000, 10_000, 0.5) > 0.007
    assert traffic_split({"a": 5000, "b": 5000}, {"a": 1, "b": 1}).state == "ok"
    assert traffic_split({"a": 1, "b": 1}, {"a": 1, "b": 1}).state == "ok"


@pytest.mark.parametrize(("routed", "weights"), [({}, {"a": 1, "b": 1}), ({"a": 9}, {"a": 1})])
def test_without_two_variants_or_any_request_nothing_is_tested(routed, weights):
    found = traffic_split(routed, weights)
    assert found.state == "untested"
    assert found.p_value is None


@pytest.mark.parametrize(("total", "share"), [(20_000, 0.1), (100_000, 0.1), (10_000, 0.5)])
def test_the_smallest_loss_shows_four_times_in_five(total, share):
    counts = {"a": round(total * (1 - share)), "b": round(total * share) + 3}
    said = traffic_split(counts, {"a": 1 - share, "b": share}).finding
    loss = float(re.search(r"a loss of ([0-9.]+)%", said)[1]) / 100
    left = 1 - share * loss
    lossy = share * (1 - loss) / left
    noncentrality = total * left * (lossy - share) ** 2 / (share * (1 - share))
    assert ncx2.sf(chi2.isf(0.001, 1), 1, noncentrality) == pytest.approx(0.8, abs=0.1)


def test_too_few_requests_notice_no_loss():
    found = traffic_split({"a": 9, "b": 2}, {"a": 9, "b": 1})
    assert "too few requests" in found.finding
