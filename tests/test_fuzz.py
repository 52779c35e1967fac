"""Spoilt files meet every command that reads one: an answer or a refusal, never a crash.

The default run takes the first mutations of each kind; ``-m slow`` all 2,000. A mutation is made
from its number alone: ``mutate(seeds(), 17)`` is what failed as "17".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnac.passes.graph import Graph
from fnac.passes.super_network.mix import Mix
from tests.support.fuzz_server import MEGABYTES, SECONDS, Outcome, Server
from tests.support.graphs import graph
from tests.support.mbconv_networks import mbconv_network
from tests.support.mutations import mutate

DOCUMENTED = {0, 2, 3, 4, 5, 6}  # exit codes; 1 is a bug
SHORT, FULL = 20, int(os.environ.get("FNAC_FUZZ", "2000"))

LEGACY = """(float[N,3,16,16] image, float[8,3,3,3] w, float[8] b) => (float[N,5] y)
<float[8,3,3,3] w, float[8] b, float[5,8] f, float[5] g, int64[1] zero = {0}, int64[1] one = {-1}>
{
    c = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(image, w, b)
    r = Clip<min=0.0, max=6.0>(c)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    p = GlobalAveragePool(m)
    s = Shape(p)
    n = Gather<axis=0>(s, zero)
    t = Concat<axis=0>(n, one)
    q = Reshape(p, t)
    y = Gemm<transB=1>(q, f, g)
}"""

MODERN = """(float[1,3,16,16] image) => (float[1,4,32,32] y, int64[1,1,32,32] top)
<uint8[8,3,3,3] w8, float[8] scale, uint8[8] zero, float[8] b, float[8,8,3,3] v, float[8] d,
 float[4,8,1,1] h, float[4] k, int64[8] pads = {0,0,1,1,0,0,1,1}, float[4] up = {1,1,4,4},
 int64[2] two = {4,4}, bool cond = {1}>
{
    w = DequantizeLinear<axis=0>(w8, scale, zero)
    padded = Pad(image, pads)
    c = Conv<strides=[2,2]>(padded, w, b)
    r = Relu(c)
    e = Conv<pads=[1,1,1,1]>(r, v, d)
    s = Add(e, r)
    z = Relu(s)
    i = If(cond) <then_branch = g1 () => (float[1,8,8,8] t) { t = Identity(z) },
                  else_branch = g2 () => (float[1,8,8,8] u) { u = Neg(z) }>
    a, c2 = Split<axis=1>(i, two)
    o = Concat<axis=1>(c2, a)
    x = Conv(o, h, k)
    y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , up)
    top = ArgMax<axis=1>(y)
}"""


def seeds() -> list[bytes]:
    """Return the files that are spoilt: small networks of five kinds, the last a super network."""
    mixed = mbconv_network(((6, 2, 2),))
    Mix(kernels=(3, 5), expansions=(2,), depths=(2,)).run(mixed)
    mixed.manifest["role"] = "super"
    scale = {"scale": 0.5, "zero": 3}
    made: list[Graph] = [
        mbconv_network(((6, 2, 2),)),
        mbconv_network(((6, 2, 2),), bn=False, bias=True, same=True),
        graph(LEGACY, opset=9),
        graph(MODERN, opset=18, values=scale),
        mixed,
    ]
    return [one.to_model().SerializeToString() for one in made]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def commands(folder: Path) -> list[list[str]]:
    spoilt, out = str(folder / "spoilt.onnx"), str(folder / "out.onnx")
    return [
        ["inspect", spoilt],
        ["profile", spoilt],
        ["expand", spoilt, "-o", out],
        ["verify", spoilt, spoilt],
        ["verify", str(folder / "seed.onnx"), spoilt],
    ]


def complaint(outcome: Outcome) -> str | None:
    """Say what is wrong with how a command ended; None: nothing."""
    if outcome.code is None:
        return f"hangs: {outcome.seconds} s of processor time"
    if outcome.code not in DOCUMENTED:
        return f"ends with {outcome.code}: {outcome.stderr[-500:]}"
    if "Traceback" in outcome.stderr:
        return f"prints a traceback: {outcome.stderr[:500]}"
    if outcome.code and not outcome.stderr.startswith("fnac: ") and "fnac: " not in outcome.stderr:
        return f"ends with {outcome.code} without a word: {outcome.stderr[:200]}"
    if outcome.seconds > SECONDS:
        return f"takes {outcome.seconds} s of processor time"
    if outcome.megabytes > MEGABYTES:
        return f"takes {outcome.megabytes:.0f} MB"
    return None


def run_all(server: Server, folder: Path, numbers: range) -> tuple[list[str], dict[str, int]]:
    """Return what went wrong, and how many command lines ended with which code."""
    files = seeds()
    (folder / "seed.onnx").write_bytes(files[0])
    wrong: list[str] = []
    ends: dict[str, int] = {}
    for number in numbers:
        what, data = mutate(files, number)
        (folder / "spoilt.onnx").write_bytes(data)
        for arguments in commands(folder):
            outcome = server.run(arguments)
            said = complaint(outcome)
            if said is not None:
                wrong.append(f"{what}: fnac {arguments[0]} {said}")
            ends[str(outcome.code)] = ends.get(str(outcome.code), 0) + 1
    return wrong, ends


def test_spoilt_files_are_answered_or_refused(server: Server, tmp_path: Path) -> None:
    wrong, ends = run_all(server, tmp_path, range(SHORT))
    assert wrong == []
    assert ends["0"] > 0
    assert ends["3"] > 0


@pytest.mark.slow
def test_two_thousand_spoilt_files(server: Server, tmp_path: Path) -> None:
    wrong, ends = run_all(server, tmp_path, range(FULL))
    assert wrong == [], "\n".join([str(ends), *wrong])
