from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from fnac.passes.errors import PipelineError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.prepare.restore_batchnorm import RestoreBatchNorm
from fnac.passes.registry import parse_pipeline
from fnac.passes.running.calibrate import Statistics, output_statistics
from tests.support.graphs import applied, assert_same_outputs, constants, graph, outputs, text

MBCONV = """(float[N,4,8,8] x) => (float[N,5] y)
    <float[8,4,1,1] we, float[8] be, float[8,1,3,3] wd, float[8] bd, float[4,8,1,1] wp,
     float[4] bp, float[6,4,1,1] wl, float[6] bl, float[5,6,1,1] wc, float[5] bc>
    { e = Conv(x, we, be) er = Relu(e)
      d = Conv<group = 8, pads = [1, 1, 1, 1]>(er, wd, bd) dr = Relu(d)
      p = Conv(dr, wp, bp) a = Add(x, p)
      l = Conv(a, wl, bl) lr = Relu(l) q = GlobalAveragePool(lr)
      c = Conv(q, wc, bc) y = Flatten(c) }"""
PLAIN = """(float[N,4,8,8] x) => (float[N,2,8,8] y)
    <float[8,4,1,1] w, float[8] b, float[2,8,1,1] v, float[2] c>
    { h = Conv(x, w, b) r = Relu(h) y = Conv(r, v, c) }"""


def pictures(count: int = 24) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 4, 8, 8)).astype("f4")


def test_identity_statistics_without_pictures_are_said_to_be_that() -> None:
    before = graph(MBCONV)
    after, report = applied(RestoreBatchNorm(epsilon=0.0), before)
    said = "identity statistics; train mode differs"
    assert report.rewrote == {"e": said, "d": said, "p": said, "l": said}
    assert report.left == {"c": "its input is pooled to one pixel"}
    assert [n.op for n in after.nodes].count("BatchNormalization") == 4
    assert all(len(n.inputs) == 2 for n in after.nodes if n.op == "Conv" and n.name != "c")
    # epsilon 0, gamma 1: exact on integers, but the mean over the image is not an integer
    assert_same_outputs(before, after, tolerance=1e-6)


def test_pictures_give_the_statistics_and_eval_mode_computes_the_same() -> None:
    before = graph(MBCONV)
    after, report = applied(RestoreBatchNorm(images=pictures()), before)
    # gamma / sqrt(var + eps) is 1 but for two roundings, four layers deep
    assert_same_outputs(before, after, tolerance=1e-5)
    cosines = [float(said.rpartition(" ")[2]) for said in report.rewrote.values()]
    assert all(said.startswith("calibrated; train mode cosine 0.") or "1.0" in said
               for said in report.rewrote.values())  # fmt: skip
    assert min(cosines) > 0.9
    watched = Graph.from_model(before.to_model())
    found = output_statistics(watched, ["e"], pictures())["e"]
    stored = constants(after)
    bias = before.nodes[0].inputs[2].values
    np.testing.assert_allclose(stored["e.bn.bias"], found.mean, rtol=1e-6)
    np.testing.assert_allclose(stored["e.bn.running_mean"], found.mean - bias, rtol=1e-5)
    np.testing.assert_allclose(stored["e.bn.running_var"], found.variance, rtol=1e-6)
    assert applied(RestoreBatchNorm(images=pictures()), after)[1].rewrote == {}


def test_the_cosine_of_the_layers_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fnac.passes.prepare.restore_batchnorm"):
        _, report = applied(RestoreBatchNorm(images=pictures()), graph(MBCONV))
    told = {node: float(said.rpartition(" ")[2]) for node, said in report.rewrote.items()}
    mean, least = np.mean(list(told.values())), min(told, key=lambda node: told[node])
    (line,) = caplog.messages
    assert line.startswith(f"batch normalisation restored after {len(told)} layers; ")
    assert abs(float(line.split("mean ")[1].split(",")[0]) - mean) < 2e-3
    assert line.endswith(f"least {told[least]:.3f} at {least}")


def test_folding_leads_back() -> None:
    before = graph(MBCONV)
    restored, _ = applied(RestoreBatchNorm(images=pictures()), before)
    folded, _ = applied(FoldBatchNorm(), restored)
    assert [n.op for n in folded.nodes] == [n.op for n in before.nodes]
    pairs = zip(before.nodes, folded.nodes, strict=True)
    for old, new in [pair for pair in pairs if pair[0].op == "Conv"]:
        for a, b in zip(old.inputs[1:], new.inputs[1:], strict=True):
            np.testing.assert_allclose(b.values, a.values, rtol=1e-5, atol=1e-5)


def test_a_dead_channel_gets_a_variance_above_zero() -> None:
    before = graph(MBCONV)
    weight = before.nodes[0].inputs[1]
    values = weight.values.copy()
    values[2] = 0
    weight.values = values
    after, _ = applied(RestoreBatchNorm(images=pictures()), before)
    variance = np.array(constants(after)["e.bn.running_var"])
    assert variance[2] == pytest.approx(1e-8)
    assert (np.delete(variance, 2) > 1e-3).all()
    assert_same_outputs(before, after, tolerance=1e-5)


def test_networks_that_never_had_batchnorm_stay_without() -> None:
    before = graph(PLAIN)
    after, report = applied(RestoreBatchNorm(), before)
    why = "no depthwise or residual convolution has a bias, so BN was never there (where=all)"
    assert report.left == {"h": why, "y": why}
    assert text(after) == text(before)
    forced, report = applied(RestoreBatchNorm(where="all"), before)
    assert list(report.rewrote) == ["h"]
    assert report.left == {"y": "its output is an output of the network"}
    assert [n.op for n in forced.nodes] == ["Conv", "BatchNormalization", "Relu", "Conv"]


@pytest.mark.parametrize(
    ("nodes", "node", "why"),
    [
        ("h = Conv(x, w) r = Relu(h) y = Conv(r, v, c)", "h", "it has no bias"),
        ("a = Abs(b) h = Conv(x, w, a) r = Relu(h) y = Conv(r, v, c)", "h", "its bias is computed"),
        ("a = Abs(w) h = Conv(x, a, b) r = Relu(h) y = Conv(r, v, c)", "h",
         "its weight is computed"),
        ("h = Conv(x, w, b) s = Sigmoid(h) y = Neg(s)", "h", "it is the last layer of its branch"),
        ("g = GlobalAveragePool(x) h = Conv(g, w, b) r = Relu(h) t = Conv(r, v, c) y = Relu(t)",
         "t", "its input is pooled to one pixel"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(nodes: str, node: str, why: str) -> None:
    body = PLAIN.partition("=>")[0] + "=> (y)" + PLAIN.partition("y)")[2].partition("{")[0]
    _, report = applied(RestoreBatchNorm(where="all"), graph(f"{body} {{ {nodes} }}"))
    assert report.left[node] == why


def test_a_network_with_its_own_norm_is_left() -> None:
    restored, _ = applied(RestoreBatchNorm(), graph(MBCONV))
    _, report = applied(RestoreBatchNorm(), restored)
    assert set(report.left.values()) == {
        "the network normalises by itself (BatchNormalization e.bn)"
    }


PREACTIVATED = """(float[N,4,8,8] x) => (float[N,2] y)
    <float[4] g, float[4] h, float[4] m, float[4] s, float[8,4,1,1] w, float[8] b, float[4,8,3,3] v,
     float[4,4,1,1] u, float[4] c, float[6,4] p, float[6] q, float[2,6] t>
    { x1 = Conv(x, u) x2 = Add(x1, x) n = BatchNormalization(x2, g, h, m, s) a = Relu(n)
      k = Conv(a, w, b) e = Relu(k)
      j = Conv<pads = [1, 1, 1, 1]>(e, v)
      l = GlobalAveragePool(j) i = Conv(l, u, c) d = Sigmoid(i) f = Mul(i, d)
      z = Conv(f, u, c) r = Sigmoid(z) o = Mul(j, r)
      k1 = MaxPool<kernel_shape = [8, 8]>(o) k2 = Flatten(k1)
      k3 = Gemm<transB = 1>(k2, p, q) k4 = Relu(k3) y = Gemm<transB = 1>(k4, t) }"""


def test_a_folded_network_that_kept_some_of_its_batchnorm_gets_the_others_back() -> None:
    """As in DenseNet: those in front of a convolution stay, those behind one are gone."""
    before = graph(PREACTIVATED, values={"s": np.ones(4)})
    after, report = applied(RestoreBatchNorm(images=pictures()), before)
    assert list(report.rewrote) == ["k", "k3"]
    assert {report.left[name] for name in ("i", "z")} == {"its input is pooled to one pixel"}
    assert report.left["j"] == "it has no bias"
    assert_same_outputs(before, after, tolerance=1e-5)
    again, _ = applied(FoldBatchNorm(), after)
    assert [n.op for n in again.nodes].count("BatchNormalization") == 1


PLAIN_NORM = "<float[8] g, float[8] s, float[8,8,3,3] u, float[8] a, "
NORM = "BatchNormalization({}, g, b, b, s)"


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        # Keras: activation in the convolution, normalisation behind it
        (f"h = Conv(x, w, b) r = Relu(h) n = {NORM.format('r')}"
         " i = Conv<pads = [1, 1, 1, 1]>(n, u, a) j = Relu(i)",
         "the network normalises by itself (BatchNormalization n)"),
        (f"h = Conv(x, w, b) p = Sigmoid(h) r = Mul(h, p) n = {NORM.format('r')}"
         " i = Conv<pads = [1, 1, 1, 1]>(n, u, a) j = Relu(i)",
         "the network normalises by itself (BatchNormalization n)"),
        # a gate that is no swish: what it multiplies is a sum
        (f"h = Conv(x, w) p = Sigmoid(h) o = Add(h, h) r = Mul(o, p) n = {NORM.format('r')}"
         " i = Conv<pads = [1, 1, 1, 1]>(n, u, a) j = Relu(i)", None),
        # others read the convolution, too: a folded network had to keep this one
        (f"h = Conv(x, w) n = {NORM.format('h')} i = Conv<pads = [1, 1, 1, 1]>(n, u, a)"
         " k = Relu(i) j = Sum(k, h)", None),
    ],
)  # fmt: skip
def test_a_norm_behind_an_activation_is_the_networks_own(nodes: str, why: str | None) -> None:
    body = PLAIN.partition("{")[0].replace("<", PLAIN_NORM)
    before = graph(f"{body} {{ {nodes} y = Conv(j, v, c) }}", values={"s": np.ones(8)})
    _, report = applied(RestoreBatchNorm(images=pictures()), before)
    assert list(report.rewrote) == ([] if why else ["i"])
    assert why is None or set(report.left.values()) == {why}


def test_a_norm_of_the_picture_says_nothing_of_the_layers() -> None:
    norm = "n = BatchNormalization(x, c4, c4, c4, s4) h = Conv(n, w, b)"
    body = PLAIN.replace("float[2] c>", "float[2] c, float[4] c4, float[4] s4>")
    before = graph(body.replace("h = Conv(x, w, b)", norm), values={"s4": np.ones(4)})
    _, report = applied(RestoreBatchNorm(), before)
    why = "no depthwise or residual convolution has a bias, so BN was never there (where=all)"
    assert report.left == {"h": why, "y": why}


def test_norms_of_a_classifier_stay_and_the_convolutions_get_theirs_back() -> None:
    """As in networks for faces: exporters fold what is behind a Conv, and nothing else."""
    head = """f = Flatten(q) n1 = BatchNormalization(f, bl, bl, bl, s6) g = Gemm(n1, wg, bg)
      n2 = BatchNormalization(g, bg, bg, bg, s7) r = Relu(g2) y = Gemm(r, wh, bh) }"""
    head = head.replace("r = Relu(g2)", "r2 = Relu(n2) n3 = BatchNormalization(r2, bg, bg, bg, s7)")
    head = head.replace("Gemm(r, wh, bh)", "Gemm(n3, wh, bh)")
    stored = "float[6,7] wg, float[7] bg, float[7,5] wh, float[5] bh, float[6] s6, float[7] s7"
    body = MBCONV.partition("c = Conv(q")[0].replace("float[5] bc>", f"{stored}>")
    body = body.replace("float[5,6,1,1] wc, ", "")
    before = graph(f"{body} {head}", values={"s6": np.ones(6), "s7": np.ones(7)})
    after, report = applied(RestoreBatchNorm(images=pictures()), before)
    assert list(report.rewrote) == ["e", "d", "p", "l"]
    assert report.left["g"] == "it has its BatchNormalization"
    assert_same_outputs(before, after, tolerance=1e-5)


def test_a_network_whose_weights_are_standardised_never_had_batchnorm() -> None:
    standard = "n = BatchNormalization(w, b, b, b, b) o = Transpose<perm = [1, 0, 2, 3]>(n)"
    body = PLAIN.replace("float[8,4,1,1] w", "float[4,8,1,1] w")
    _, report = applied(
        RestoreBatchNorm(),
        graph(body.replace("h = Conv(x, w, b)", f"{standard} h = Conv(x, o, b)")),
    )
    assert set(report.left.values()) == {
        "the network standardises its weights (BatchNormalization n)"
    }


def test_a_norm_of_the_pooled_features_is_none_of_the_convolutions() -> None:
    head = "f = Flatten(q) o = LayerNormalization(f, bl) z = Reshape(o, like) c = Conv(z, wc, bc)"
    body = MBCONV.replace("c = Conv(q, wc, bc)", head)
    body = body.replace("float[5] bc>", "float[5] bc, int64[4] like = {-1, 6, 1, 1}>")
    _, report = applied(RestoreBatchNorm(), graph(body))
    assert list(report.rewrote) == ["e", "d", "p", "l"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 3, 8, 8), r"images of shape \[2, 3, 8, 8\] were given"), ((0, 4, 8, 8), "were given")],
)
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=words):
        RestoreBatchNorm(images=np.zeros(shape, "f4")).run(graph(MBCONV))


def test_pictures_come_from_a_file_on_the_command_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", images=pictures())
    (one,) = parse_pipeline(f"restore-batchnorm{{data={tmp_path}/p.npz}}")
    by_file, _ = applied(one, graph(MBCONV))
    by_array, _ = applied(RestoreBatchNorm(images=pictures()), graph(MBCONV))
    a, b = outputs(by_file)["y"], outputs(by_array)["y"]
    np.testing.assert_array_equal(a, b)
    with pytest.raises(UnsupportedGraphError, match="no readable images"):
        RestoreBatchNorm(data=str(tmp_path / "none.npy")).run(graph(MBCONV))
    with pytest.raises(PipelineError, match="where=some; known: auto, all"):
        parse_pipeline("restore-batchnorm{where=some}")


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1000.0, 0.1, (10, 3, 4, 4)).astype("f4")
    parts = Statistics.of(values[:3])
    parts.merge(Statistics.of(values[3:]))
    flat = np.moveaxis(values, 1, 0).reshape(3, -1).astype("f8")
    np.testing.assert_allclose(parts.mean, flat.mean(1), rtol=1e-12)
    np.testing.assert_allclose(parts.variance, flat.var(1), rtol=1e-6)


def test_the_found_mobilenet_gets_its_batchnorm_back(shared_data: Path) -> None:
    """Eval outputs within float noise, and train mode close to it, on the real network."""
    from fnac.passes.manager import PassManager
    from fnac.passes.normalize.pipeline import PIPELINE

    g = Graph.load(shared_data / "weights_imagenet" / "mobilenet_v2_tfhub_ptq.onnx")
    PassManager(verify=False).run(PIPELINE, g)
    g.inputs[0].shape = ["batch", 3, "height", "width"]
    images = camvid(shared_data, 24)
    manager = PassManager()
    manager.run([RestoreBatchNorm(images=images)], g)
    (entry,) = manager.ledger
    assert entry.verdict == "equal"
    assert len(entry.report.rewrote) == 52
    assert list(entry.report.left.values()) == ["its input is pooled to one pixel"]
    cosines = [float(said.rpartition(" ")[2]) for said in entry.report.rewrote.values()]
    assert np.mean(cosines) > 0.9


def camvid(shared_data: Path, count: int) -> np.ndarray:
    from PIL import Image

    files = sorted((shared_data / "camvid" / "images").rglob("*.*"))[:count]
    pixels = [np.asarray(Image.open(f).convert("RGB").resize((128, 96)), "f4") for f in files]
    return np.ascontiguousarray((np.stack(pixels) / 127.5 - 1).transpose(0, 3, 1, 2))
