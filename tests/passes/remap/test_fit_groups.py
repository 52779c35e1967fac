from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.remap.fit import refit
from fnac.passes.remap.fit_groups import GroupFit, dense_weight, fit_groups
from tests.support.fits import (
    equal_parts,
    features,
    least_error,
    least_squares,
    measured_error,
    moments_of,
)

Array = np.ndarray
NOISE = 1e-8


def weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def given(h: Array, fit: GroupFit, groups: int) -> Array:
    """What the grouped convolution gives at each pixel, in the *old* order of outputs."""
    taps = h.shape[1] // len(fit.inputs)
    read = h.reshape(len(h), -1, taps)[:, fit.inputs].reshape(len(h), groups, -1)
    rows = fit.weight.reshape(groups, len(fit.outputs) // groups, -1)
    y = np.einsum("pgi,gmi->pgm", read, rows).reshape(len(h), -1) + fit.bias
    old = np.empty_like(y)
    old[:, fit.outputs] = y
    return old


def assert_error_is_measured(h: Array, w: Array, fit: GroupFit, groups: int) -> None:
    wanted = h @ w.reshape(len(w), -1).T
    assert fit.error == pytest.approx(measured_error(wanted, given(h, fit, groups)), abs=NOISE)


def brute_force(h: Array, w: Array, inputs_free: bool, outputs_free: bool) -> float:
    """Least error over all ways to make two groups."""
    c, m = w.shape[1], len(w)
    t = h @ w.T
    total = t.var(axis=0).sum()
    best = np.inf
    for inputs in equal_parts(c) if inputs_free else [list(range(c // 2))]:
        others = [i for i in range(c) if i not in inputs]
        here = [least_error(h[:, inputs], t[:, [i]]) * t[:, i].var() for i in range(m)]
        there = [least_error(h[:, others], t[:, [i]]) * t[:, i].var() for i in range(m)]
        for outputs in equal_parts(m) if outputs_free else [list(range(m // 2))]:
            error = sum(here[i] if i in outputs else there[i] for i in range(m))
            best = min(best, error / total)
    return float(best)


def test_each_group_is_least_squares_on_its_own_inputs() -> None:
    h, w = features(0, 400, 6), weights(1, 4, 6, 1, 1)
    fit = fit_groups(moments_of(h).second, w, 2)
    assert fit.weight.shape == (4, 3, 1, 1)
    assert fit.inputs.tolist() == list(range(6))
    assert fit.outputs.tolist() == list(range(4))
    for group in range(2):
        rows, columns = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
        weight, constant = least_squares(h[:, columns], h @ w[rows, :, 0, 0].T)
        np.testing.assert_allclose(fit.weight[rows, :, 0, 0], weight, rtol=0, atol=NOISE)
        np.testing.assert_allclose(fit.bias[rows], constant, rtol=0, atol=NOISE)
    assert_error_is_measured(h, w, fit, 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("inputs", "outputs"), [(True, False), (False, True), (True, True)])
def test_groups_against_every_assignment(seed: int, inputs: bool, outputs: bool) -> None:
    h, w = features(seed, 300, 6), weights(seed + 100, 6, 6)
    fit = fit_groups(moments_of(h).second, w, 2, permute_inputs=inputs, permute_outputs=outputs)
    assert_error_is_measured(h, w, fit, 2)
    best = brute_force(h, w, inputs, outputs)
    assert fit.error >= best - NOISE
    assert fit.error == pytest.approx(best, abs=NOISE)
    assert sorted(fit.inputs) == sorted(fit.outputs) == list(range(6))
    if not inputs:
        assert fit.inputs.tolist() == list(range(6))
    if not outputs:
        assert fit.outputs.tolist() == list(range(6))


@pytest.mark.parametrize("groups", [2, 3, 4])
@pytest.mark.parametrize("taps", [1, 4])
def test_hidden_groups_are_found(groups: int, taps: int) -> None:
    rng = np.random.default_rng(groups)
    h = features(0, 900, 12 * taps)
    own = rng.integers(1, 5, (24, 12 // groups, taps)) * rng.choice([-1, 1], (24, 1, 1))
    dense = dense_weight(own, groups)
    inputs, outputs = rng.permutation(12), rng.permutation(24)
    w = np.empty_like(dense)
    w[np.ix_(outputs, inputs)] = dense
    fit = fit_groups(moments_of(h).second, w, groups, permute_inputs=True, permute_outputs=True)
    assert fit.error < 1e-18
    found = dense_weight(fit.weight, groups)
    np.testing.assert_array_equal(found.astype("f4"), w[np.ix_(fit.outputs, fit.inputs)])
    assert_error_is_measured(h, w, fit, groups)
    position = fit_groups(moments_of(h).second, w, groups)
    assert position.error > 0.01


def test_a_wrong_permutation_shows() -> None:
    h, w = features(0, 400, 6), weights(1, 4, 6)
    fit = fit_groups(moments_of(h).second, w, 2, permute_inputs=True, permute_outputs=True)
    for wrong in (
        GroupFit(fit.weight, fit.bias, np.roll(fit.inputs, 1), fit.outputs, fit.error),
        GroupFit(fit.weight, fit.bias, fit.inputs, fit.outputs[::-1], fit.error),
        GroupFit(fit.weight, 0 * fit.bias, fit.inputs, fit.outputs, fit.error),
    ):
        with pytest.raises(AssertionError):
            assert_error_is_measured(h, w, wrong, 2)


def test_an_output_that_counts_more_is_served_first() -> None:
    h, w = features(0, 400, 8), weights(1, 4, 8)
    scale = np.array([100.0, 1, 1, 1])
    gram = moments_of(h).second
    weighted = fit_groups(gram, w, 2, permute_inputs=True, row_weights=scale)
    plain = fit_groups(gram, w, 2, permute_inputs=True)
    t = h @ w.T

    def first(fit: GroupFit) -> float:
        return measured_error(t[:, :1], given(h, fit, 2)[:, :1])

    assert first(weighted) < first(plain)
    assert weighted.error == pytest.approx(
        measured_error(t, given(h, weighted, 2), scale), abs=NOISE
    )


def test_in_sequence_groups_aim_at_the_target() -> None:
    h, w = features(0, 400, 6), weights(1, 4, 6)
    t = (0.8 * h + 0.2 * features(9, 400, 6)) @ w.T + 3
    moments = moments_of(h, t)
    fit = fit_groups(moments.second, w, 2, moments.target)
    for group in range(2):
        rows, columns = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
        weight, constant = least_squares(h[:, columns], t[:, rows])
        np.testing.assert_allclose(fit.weight[rows], weight, rtol=0, atol=NOISE)
        np.testing.assert_allclose(fit.bias[rows], constant, rtol=0, atol=NOISE)
    assert fit.error == pytest.approx(measured_error(t, given(h, fit, 2)), abs=NOISE)


def test_one_group_is_the_dense_convolution_to_the_bit() -> None:
    h, w = features(0, 400, 6), weights(1, 4, 6)
    fit = fit_groups(moments_of(h).second, w, 1, permute_inputs=True, permute_outputs=True)
    np.testing.assert_array_equal(fit.weight, w)
    np.testing.assert_array_equal(fit.bias, 0)
    assert fit.error == refit(moments_of(h).second, w, np.arange(6)).error == 0


def test_no_effort_and_any_effort_give_the_same_every_time() -> None:
    h, w = features(0, 600, 16), weights(1, 16, 16)
    gram = moments_of(h).second
    errors = []
    for effort in (0.0, 1e8, 1e10):
        fits = [
            fit_groups(gram, w, 4, permute_inputs=True, permute_outputs=True, effort=effort)
            for _ in range(2)
        ]
        np.testing.assert_array_equal(fits[0].weight, fits[1].weight)
        errors.append(fits[0].error)
    assert errors[0] >= errors[1] >= errors[2]
    assert errors[0] <= fit_groups(gram, w, 4).error + NOISE


def test_dense_weight_of_a_grouped_one() -> None:
    w = np.arange(1.0, 9).reshape(4, 2)
    wanted = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
    np.testing.assert_array_equal(dense_weight(w, 2), wanted)


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups do not divide 4 output and 6 input channels"):
        fit_groups(np.eye(7), np.ones((4, 6)), 3)
