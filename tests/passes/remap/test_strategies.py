from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.errors import StrategyError
from fnac.passes.remap.block_arrays import BatchNorm, BlockArrays, ConvArrays, block_parts
from fnac.passes.remap.mbconv import remap_mbconv
from fnac.passes.remap.strategies import STRATEGIES, strategy

Array = np.ndarray


def unit(rng: np.random.Generator, shape: tuple[int, ...], bn: bool = True) -> ConvArrays:
    def vector() -> Array:
        return rng.integers(1, 9, shape[0]).astype("f4")

    norm = BatchNorm(vector(), vector(), vector(), vector()) if bn else None
    bias = None if bn else vector()
    return ConvArrays(rng.integers(1, 9, shape).astype("f4"), bias, norm)


def block(*, hidden: int = 6, expand: bool = True, bn: bool = True) -> BlockArrays:
    rng = np.random.default_rng(0)
    front = {"expand": unit(rng, (hidden, 3, 1, 1), bn)} if expand else {}
    return {
        **front,
        "depthwise": unit(rng, (hidden, 1, 3, 3), bn),
        "project": unit(rng, (4, hidden, 1, 1), bn),
    }


def computed(b: BlockArrays, x: Array) -> Array:
    """Run a block at one pixel (the centre taps), ReLU between; BN without epsilon."""
    for role, conv in b.items():
        k = conv.weight.shape[-1] // 2
        w = conv.weight[..., k, k].astype("f8")
        x = w[:, 0] * x if role == "depthwise" else w @ x
        if conv.bias is not None:
            x = x + conv.bias
        if conv.bn is not None:
            x = (x - conv.bn.mean) / np.sqrt(conv.bn.var) * conv.bn.gamma + conv.bn.beta
        if role != "project":
            x = np.maximum(x, 0)
    return x


def remapped(
    b: BlockArrays, name: str, *, hidden: int = 6, kernel: int = 3, seed: int = 0
) -> tuple[BlockArrays, dict[str, str]]:
    return remap_mbconv(
        b,
        kernel=kernel,
        hidden=hidden,
        in_channels=3,
        how=strategy(name),
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("bn", [True, False])
def test_fna_keeps_the_first_hidden_channels_consistently(bn: bool) -> None:
    b = block(bn=bn)
    half, account = remapped(b, "fna", hidden=3)
    np.testing.assert_array_equal(half["expand"].weight, b["expand"].weight[:3])
    np.testing.assert_array_equal(half["depthwise"].weight, b["depthwise"].weight[:3])
    np.testing.assert_array_equal(half["project"].weight, b["project"].weight[:, :3])
    if bn:
        assert half["depthwise"].bn is not None
        assert b["depthwise"].bn is not None
        np.testing.assert_array_equal(half["depthwise"].bn.var, b["depthwise"].bn.var[:3])
    assert account["depthwise.weight"] == "cropped"
    assert account["project.weight"] == "cropped"
    end = "gamma" if bn else "bias"
    assert account[f"project.{end}"] == "copied"
    assert account.keys() == dict(block_parts(half)).keys()


def test_new_batchnorm_channels_are_the_identity() -> None:
    wide, account = remapped(block(), "fna", hidden=8)
    bn = wide["depthwise"].bn
    assert bn is not None
    assert [v[6:].tolist() for v in (bn.gamma, bn.beta, bn.mean, bn.var)] == [
        [1, 1], [0, 0], [0, 0], [1, 1],
    ]  # fmt: skip
    assert account["depthwise.gamma"] == "padded"


@pytest.mark.parametrize("name", [n for n, s in STRATEGIES.items() if s.keeps_wider])
@pytest.mark.parametrize("bn", [True, False])
def test_wider_keeps_the_function_where_it_is_said_to(name: str, bn: bool) -> None:
    x = np.array([1.0, -2.0, 3.0])
    wide, _ = remapped(block(bn=bn), name, hidden=9)
    np.testing.assert_allclose(computed(wide, x), computed(block(bn=bn), x), rtol=1e-6)


def test_the_comparison_of_functions_has_teeth() -> None:
    x = np.array([1.0, -2.0, 3.0])
    wide, _ = remapped(block(), "fna", hidden=9)
    wide["project"].weight[0, 0] += 1
    assert np.abs(computed(wide, x) - computed(block(), x)).max() > 0.1


def test_fna_growth_is_dead_and_fna_live_is_not() -> None:
    dead, _ = remapped(block(), "fna", hidden=9)
    live, account = remapped(block(), "fna-live", hidden=9)
    assert not dead["expand"].weight[6:].any()
    assert not dead["depthwise"].weight[6:].any()
    assert live["expand"].weight[6:].all()
    assert live["depthwise"].weight[6:].all()
    assert not live["project"].weight[:, 6:].any()
    assert not np.array_equal(live["expand"].weight[6:], live["expand"].weight[:3]), (
        "copies must differ"
    )
    assert account["expand.weight"] == "padded live"


def test_net2net_shares_out_what_it_copies() -> None:
    b = block()
    wide, account = remapped(b, "net2net", hidden=60)
    np.testing.assert_allclose(
        wide["project"].weight.sum(axis=1), b["project"].weight.sum(axis=1), rtol=1e-5
    )
    assert account["expand.weight"] == "replicated"
    again, _ = remapped(b, "net2net", hidden=60)
    np.testing.assert_array_equal(again["expand"].weight, wide["expand"].weight)  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "kept"), [("bn-gamma", [1, 3, 5]), ("l1", [0, 2, 4])])
def test_selection_keeps_the_most_important_channels_in_order(name: str, kept: list[int]) -> None:
    b = block()
    assert b["expand"].bn is not None
    b["expand"].bn.gamma[:] = [1, -9, 1, 9, 1, 9]
    b["expand"].weight[[0, 2, 4]] += 100
    half, account = remapped(b, name, hidden=3)
    np.testing.assert_array_equal(half["depthwise"].weight, b["depthwise"].weight[kept])
    np.testing.assert_array_equal(half["project"].weight, b["project"].weight[:, kept])
    assert account["depthwise.weight"] == "selected"


def test_selection_by_gamma_needs_batchnorm() -> None:
    with pytest.raises(StrategyError, match="bn-gamma: channels are chosen by BN gamma"):
        remapped(block(bn=False), "bn-gamma", hidden=3)


def test_dilate_spreads_the_kernel() -> None:
    wide, account = remapped(block(), "dilate", kernel=7)
    assert wide["depthwise"].weight[..., ::3, ::3].all()
    assert account["depthwise.weight"] == "dilated"


def test_random_remaps_nothing() -> None:
    b = block()
    drawn, account = remapped(b, "random", hidden=3, kernel=5)
    assert set(account.values()) == {"fresh: random"}
    assert drawn["depthwise"].weight.shape == (3, 1, 5, 5)
    other, _ = remapped(b, "random", hidden=3, kernel=5, seed=1)
    assert not np.array_equal(drawn["depthwise"].weight, other["depthwise"].weight)


def test_a_block_without_expansion_gets_the_identity() -> None:
    b = block(hidden=3, expand=False)
    wide, account = remapped(b, "fna", hidden=9)
    np.testing.assert_array_equal(wide["expand"].weight[:3, :, 0, 0], np.eye(3))
    assert account["expand.weight"].startswith("fresh: the identity")
    x = np.array([1.0, 2.0, 3.0])  # the activation lets these pass
    np.testing.assert_allclose(computed(wide, x), computed(b, x))


def test_nothing_is_written_into_the_seed() -> None:
    b = block()
    before = {name: array.copy() for name, array in block_parts(b)}
    for name in STRATEGIES:
        for hidden in (3, 6, 9):
            remapped(b, name, hidden=hidden, kernel=5)
    for name, array in block_parts(b):
        np.testing.assert_array_equal(array, before[name])


def test_unknown_strategy() -> None:
    with pytest.raises(StrategyError, match="no remapping strategy is called 'best'; known: fna"):
        strategy("best")
