import math

import numpy as np
import pytest
from scipy.fft import dct
from scipy.stats import binom, permutation_test, ttest_1samp
from scipy.stats import t as student

from analysis.noise import (
    FLIPS,
    Noise,
    Refusal,
    draw_signs,
    measure_noise,
    precision,
    score_p_value,
    sign_flip_p,
    student_p,
)
from analysis.windows import WINDOWS

SIGNS = draw_signs(np.random.default_rng(1))
SCORE = np.random.default_rng(2).normal(size=WINDOWS)


def noise_of(score=SCORE, *, requests=1200, span_s=600.0, memory_s=10.0):
    counts = np.full(WINDOWS, requests / WINDOWS)
    return measure_noise(score, counts, counts, span_s=span_s, memory_s=memory_s, independent=1.0)


@pytest.mark.parametrize("seed", range(5))
def test_ten_windows_are_flipped_in_every_way(seed):
    rng = np.random.default_rng(seed)
    baseline, arm = rng.normal(size=10), rng.normal(0.4, size=10)
    oracle = permutation_test(
        (baseline, arm), lambda a, b: np.sum(b - a), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(arm - baseline, SIGNS) == oracle.pvalue


def test_ties_among_the_flips_count_as_being_as_far():
    # Sums of ten ones by sign: 2 of the 1024 flips reach 10, and 22 reach 8.
    assert sign_flip_p(np.full(10, 0.1), SIGNS) == 2 / 1024
    assert sign_flip_p(np.array([-0.1] + [0.1] * 9), SIGNS) == 22 / 1024


def test_more_windows_are_flipped_at_random():
    # Fourteen of twenty equal scores point one way: a sign test.
    exact = 2 * binom.sf(13, 20, 0.5)
    error = math.sqrt(exact * (1 - exact) / FLIPS)
    found = sign_flip_p(np.array([1.0] * 14 + [-1.0] * 6), SIGNS)
    assert found == pytest.approx(exact, abs=4 * error)


def test_no_p_value_is_smaller_than_the_number_of_flips_allows():
    assert sign_flip_p(np.ones(WINDOWS), SIGNS) == 1 / (FLIPS + 1)


def test_inflation_takes_from_the_sum():
    scores = np.array([2.0, 1.0] * 5)
    p_values = [sign_flip_p(scores, SIGNS, inflation=c) for c in (1.0, 1.5, 3.0)]
    assert p_values == sorted(p_values)
    assert p_values[0] == 2 / 1024


def test_without_inflation_student_is_the_t_test_of_the_windows():
    scores = SCORE + 0.3
    assert student_p(scores, inflation=1.0) == pytest.approx(ttest_1samp(scores, 0).pvalue)


@pytest.mark.parametrize(("inflation", "freedom"), [(2.0, 4.0), (2.2, 20 / 2.2**2 - 1), (4.0, 2.0)])
def test_student_has_a_degree_of_freedom_less_than_independent_windows(inflation, freedom):
    scores = SCORE[:20] + 1.0
    t = ttest_1samp(scores, 0).statistic / inflation
    assert student_p(scores, inflation=inflation) == pytest.approx(2 * student.sf(t, df=freedom))


def test_student_judges_scores_that_do_not_vary():
    assert student_p(np.zeros(20), inflation=3.0) == 1
    assert student_p(np.full(20, 0.5), inflation=3.0) < 0.001


def test_student_stands_in_where_fewer_than_five_independent_windows_are_left():
    # A cosine, half a wave over the run, and little else; and a sum that is far from 0.
    score = np.cos(np.pi * (np.arange(WINDOWS) + 0.5) / WINDOWS) + 0.01 * SCORE
    noise = noise_of(score)
    assert [windows / c**2 >= 5 for windows, c in noise.inflation] == [False, False]
    p_values = [
        student_p((score + 9).reshape(windows, -1).sum(axis=1), inflation=c)
        for windows, c in noise.inflation
    ]
    assert score_p_value(score + 9, noise, SIGNS) == max(p_values)
    assert noise.freedom == 2


def test_the_same_generator_gives_the_same_signs():
    again = draw_signs(np.random.default_rng(1))
    assert np.array_equal(SIGNS, again)
    assert set(np.unique(again)) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("span_s", "guard", "label"),
    [
        (60.0, "E2", "short run"),
        (119.9, "E2", "short run"),
        (120.0, "E4", None),
        (599.9, "E4", None),
        (130.1 - 10.1, "E4", None),  # 119.99999999999999
        (600.0, "none", None),
    ],
)
def test_the_guard_follows_the_length_of_the_run(span_s, guard, label):
    noise = noise_of(span_s=span_s)
    assert isinstance(noise, Noise)
    assert (noise.guard, noise.label) == (guard, label)
    assert noise.cosines.size == {"none": 0, "E4": 4, "E2": 2}[guard]


def test_a_run_shorter_than_six_memories_is_refused():
    found = noise_of(span_s=59.9)
    assert isinstance(found, Refusal)
    assert "59.9 s" in found.reason


def test_a_longer_memory_makes_the_same_run_short():
    assert isinstance(noise_of(span_s=600, memory_s=101), Refusal)
    assert noise_of(span_s=600, memory_s=60).guard == "E2"


@pytest.mark.parametrize("requests", [1200, 200], ids=["60 windows", "10 windows"])
def test_the_guard_is_the_cosine_test_on_the_finest_windows(requests):
    noise = noise_of(requests=requests, span_s=100.0)
    cosines = dct(SCORE, type=2, norm="ortho")[1:3]
    assert noise.cosines == pytest.approx(cosines)
    t = SCORE.sum() / math.sqrt(60 * np.mean(cosines**2))
    guarded = 2 * student.sf(abs(t), df=2)
    flipped = score_p_value(SCORE, noise_of(requests=requests), SIGNS)
    assert score_p_value(SCORE, noise, SIGNS) == pytest.approx(max(guarded, flipped))


@pytest.mark.parametrize(
    ("requests", "windows"),
    [(1200, (60, 20)), (1199, (20,)), (400, (20,)), (399, (10,)), (200, (10,))],
)
def test_windows_are_as_fine_as_twenty_requests_each_allow(requests, windows):
    found = noise_of(requests=requests)
    assert tuple(count for count, _ in found.inflation) == windows
    assert found.windows == windows[0]
    assert found.freedom == windows[-1] - 1


def test_fewer_than_ten_windows_are_refused():
    assert isinstance(noise_of(requests=199), Refusal)


def test_requests_in_a_corner_of_the_run_are_refused():
    counts = np.zeros(WINDOWS)
    counts[:6] = 1000
    found = measure_noise(SCORE, counts, counts, span_s=600, memory_s=10, independent=1)
    assert isinstance(found, Refusal)


def test_arms_that_ran_one_after_the_other_are_refused():
    first, second = np.full(WINDOWS, 100.0), np.full(WINDOWS, 100.0)
    first[45:], second[:15] = 0, 0
    found = measure_noise(SCORE, first, second, span_s=600, memory_s=10, independent=1)
    assert isinstance(found, Refusal)
    assert "side by side" in found.reason


def test_a_quiet_minute_of_both_arms_is_no_reason_to_refuse():
    counts = np.full(WINDOWS, 100.0)
    counts[12:18] = 0
    found = measure_noise(SCORE, counts, counts, span_s=600, memory_s=10, independent=1)
    assert isinstance(found, Noise)


def test_scores_that_are_all_zero_are_refused():
    assert isinstance(noise_of(np.zeros(WINDOWS)), Refusal)


def test_autocorrelation_is_corrected_for_its_bias():
    # Five windows up and five down, in turn.
    score = np.repeat([1.0, -1.0] * 6, 5)
    # 59 products of neighbours: 11 changes of sign give -1, the other 48 give 1.
    r = (48 - 11) / 60
    corrected = r + (1 + 3 * r) / 60
    noise = noise_of(score)
    assert noise.autocorrelation == pytest.approx(corrected)
    assert noise.inflation[0] == (60, pytest.approx(math.sqrt((1 + corrected) / (1 - corrected))))
    assert noise.warning is not None


def test_alternating_scores_are_not_deflated():
    noise = noise_of(np.tile([1.0, -1.0], 30))
    assert noise.inflation[0] == (60, 1.0)
    assert noise.warning is None


def test_the_design_effect_is_the_variance_over_that_of_independent_requests():
    score = np.tile([1.0, -1.0], 30)
    counts = np.full(WINDOWS, 20.0)
    found = measure_noise(score, counts, counts, span_s=600, memory_s=10, independent=30.0)
    # 60 windows of variance 60/59, not inflated; the 20 merged windows have the same variance.
    assert found.deviation**2 == pytest.approx(60 * 60 / 59)
    assert found.design_effect == pytest.approx(2 * 60 / 59)


@pytest.mark.parametrize(
    ("tail_requests", "expected"),
    [(0, "refused"), (19, "refused"), (20, "imprecise"), (49, "imprecise"), (50, "enough")],
)
def test_precision_follows_the_requests_beyond_the_quantile(tail_requests, expected):
    assert precision(tail_requests) == expected


def test_equal_scores_have_no_autocorrelation_whatever_rounding_leaves():
    score = np.full(WINDOWS, 0.01 / 60)
    noise = noise_of(score)
    assert noise.autocorrelation == pytest.approx(1 / 60)
    assert score_p_value(score, noise, SIGNS) < 0.001
