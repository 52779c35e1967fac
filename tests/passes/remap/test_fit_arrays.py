from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fnac.passes.remap.block_arrays import BatchNorm, ConvArrays
from fnac.passes.remap.fit import mean_of, output_moments, refit
from fnac.passes.remap.fit_arrays import (
    normalized_mean,
    recalibrated,
    row_weights,
    with_constant,
    with_fit,
)
from tests.support.fits import features, moments_of

Array = np.ndarray
EPSILON = 1e-5


def conv(*, bias: bool, bn: bool) -> ConvArrays:
    rng = np.random.default_rng(0)

    def vector() -> Array:
        return rng.uniform(0.5, 2, 4).astype("f4")

    return ConvArrays(
        rng.standard_normal((4, 6, 1, 1)).astype("f4"),
        vector() if bias else None,
        BatchNorm(vector(), vector(), vector(), vector()) if bn else None,
    )


def computed(c: ConvArrays, h: Array) -> Array:
    y = h @ c.weight[:, :, 0, 0].astype("f8").T
    if c.bias is not None:
        y = y + c.bias
    if c.bn is not None:
        y = (y - c.bn.mean) / np.sqrt(c.bn.var.astype("f8") + EPSILON) * c.bn.gamma + c.bn.beta
    return y


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bn", [True, False])
def test_the_mean_of_every_output_stays(bias: bool, bn: bool) -> None:
    old, h, kept = conv(bias=bias, bn=bn), features(0, 400, 6), np.array([0, 3, 4])
    fit = refit(moments_of(h).second, old.weight, kept)
    new = with_fit(old, fit.weight, fit.bias)
    assert new.weight.dtype == np.float32
    assert (new.bias is None) == (not bias and bn)
    y, made = computed(old, h), computed(new, h[:, kept])
    # float32 weights: 6e-8 of sums of order 10
    np.testing.assert_allclose(made.mean(axis=0), y.mean(axis=0), rtol=0, atol=1e-5)
    forgotten = dataclasses.replace(old, weight=fit.weight.astype("f4"))
    assert np.abs(computed(forgotten, h[:, kept]).mean(axis=0) - y.mean(axis=0)).max() > 1e-2


@pytest.mark.parametrize("bias", [True, False])
def test_a_target_holds_the_bias(bias: bool) -> None:
    old, h, kept = conv(bias=bias, bn=True), features(0, 400, 6), np.array([0, 3, 4])
    t = computed(dataclasses.replace(old, bn=None), h)
    moments = moments_of(h, t)
    fit = refit(moments.second, old.weight, kept, moments.target)
    new = with_constant(old, fit.weight, fit.bias)
    made, y = computed(new, h[:, kept]), computed(old, h)
    np.testing.assert_allclose(made.mean(axis=0), y.mean(axis=0), rtol=0, atol=1e-5)


def test_nothing_lost_leaves_everything_to_the_bit() -> None:
    for bias, bn in ((True, True), (False, True), (False, False)):
        old = conv(bias=bias, bn=bn)
        fit = refit(moments_of(features(0, 400, 6)).second, old.weight, np.arange(6))
        new = with_fit(old, fit.weight, fit.bias)
        for (name, one), (_, other) in zip(old.parts(), new.parts(), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_recalibrated_outputs_have_mean_beta_and_deviation_gamma() -> None:
    old, h, kept = conv(bias=True, bn=True), features(0, 400, 6), np.array([0, 3, 4])
    gram = moments_of(h).second
    fit = refit(gram, old.weight, kept)
    new = with_fit(old, fit.weight, fit.bias)
    new = recalibrated(new, *output_moments(gram, new.weight, new.bias, kept))
    assert new.bn is not None
    y = computed(new, h[:, kept])
    np.testing.assert_allclose(y.mean(axis=0), new.bn.beta, rtol=0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), new.bn.gamma, rtol=1e-4)
    plain = conv(bias=True, bn=False)
    assert recalibrated(plain, np.ones(4), np.ones(4)) is plain


def test_scale_and_mean_of_the_normalisation_behind() -> None:
    c, h = conv(bias=True, bn=True), features(0, 400, 6)
    mean = mean_of(moments_of(h).second, c.weight, c.bias)
    np.testing.assert_allclose(
        normalized_mean(c.bn, mean, EPSILON), computed(c, h).mean(axis=0), rtol=0, atol=1e-9
    )
    assert normalized_mean(None, mean) is mean
    assert c.bn is not None
    turned = dataclasses.replace(c.bn, gamma=-c.bn.gamma)
    step = computed(c, h + np.eye(6)[0]) - computed(c, h)
    scale = np.abs(step[0] / c.weight[:, 0, 0, 0])
    np.testing.assert_allclose(row_weights(turned, 4, EPSILON), scale, rtol=1e-9)
    np.testing.assert_array_equal(row_weights(None, 3), np.ones(3))
