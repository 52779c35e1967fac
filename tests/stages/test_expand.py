"""From a seed to its super network: the stage as a whole, on exported and found networks."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.inspection.explain import explain
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import RAW
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.passes.super_network.choice_points import set_alphas
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.expand import ExpandSettings, expand, prepare_seed
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from tests.support.graphs import applied, graph, outputs, renamed
from tests.support.mbconv_networks import left_alone, mbconv_network, same_graph

FOUND = {
    "tfhub (BN folded)": Path("weights_imagenet") / "mobilenet_v2_tfhub_ptq.onnx",
    "tf (quantised weights)": Path("weights_imagenet") / "mobilenet_v2_tf_qat_qdq.onnx",
    "gluon (BN kept)": Path("weights_mobilenet_bn") / "mobilenet_v2_gluon_bn.onnx",
}


def quiet() -> PassManager:
    return PassManager(verify=False)


@functools.cache
def exported(seed: str = "mobilenetv2_w0.25", size: tuple[int, int] = (32, 32)) -> Graph:
    return export_seed(ExportSettings(seed=seed, weights="none", size=size))


def layers(g: Graph) -> list[dict[str, Any]]:
    return list(g.manifest["layers"])


def seed_cost(g: Graph, key: str) -> int:
    return int(g.manifest[f"fixed_{key}"]) + sum(
        candidate[key]
        for layer in layers(g)
        for candidate in layer["candidates"]
        if candidate["name"] == layer["seed_choice"]
    )


# ------------------------------------------------------------------ figures of the search space


@pytest.mark.parametrize(
    ("space", "size", "seed", "uniform", "least", "most"),
    [
        ("mbconv-det", (800, 1088), 4.485062, 4.867125, 0.898253, 8.391581),
        ("mbconv-pose", (256, 256), 0.337699, 0.366466, None, None),
    ],
)
def test_costs_of_the_searchable_part(
    space: str, size: tuple[int, int], seed: float, uniform: float, least: float, most: float
) -> None:
    """The paper's space in billions of MAdds to the last digit printed there."""
    settings = ExpandSettings(space=space, size=size)
    made = expand(exported("mobilenetv2", (224, 224)), settings, manager=quiet())
    costs = [[c["madds"] for c in layer["candidates"]] for layer in layers(made)]
    assert len(costs) == 21
    billions = [
        (seed_cost(made, "madds") - made.manifest["fixed_madds"], seed),
        (sum(sum(c) / len(c) for c in costs), uniform),
        (sum(min(c) for c in costs), least),
        (sum(max(c) for c in costs), most),
    ]
    for found, expected in billions:
        assert expected is None or round(found / 1e9, 6) == expected


def test_fixed_cost_is_stem_and_first_block() -> None:
    seed = exported("mobilenetv2", (224, 224))
    made = expand(seed, ExpandSettings(space="mbconv-det", size=(800, 1088)), manager=quiet())
    at = profile(prepare_seed(seed, ExpandSettings(size=(800, 1088)), manager=quiet()))
    tail = [n for n in at.nodes if n.name.startswith(("features.18", "classifier"))]
    tail_madds = sum(n.madds for n in tail)
    assert round((made.manifest["fixed_madds"] - tail_madds) / 1e9, 6) == 0.362086


def test_segmentation_has_the_papers_figures() -> None:
    """Table II's seed row: 2,567,507 parameters, 24,521,555,968 MAdds (exact) at 1024x2048."""
    settings = ExpandSettings(task="seg", classes=19, size=(1024, 2048))
    made = expand(exported("mobilenetv2", (224, 224)), settings, manager=quiet())
    assert (made.manifest["seed_madds"], made.manifest["seed_params"]) == (24521555968, 2567507)
    assert len(layers(made)) == 25
    assert seed_cost(made, "madds") == 24521555968
    assert seed_cost(made, "params") == 2567507
    target, _ = applied(Choose(), made)
    assert (profile(target).madds, profile(target).params) == (24521555968, 2567507)


# ------------------------------------------------------------------ the seed inside


@pytest.mark.parametrize(
    ("task", "remap", "shuffle"),
    [
        (None, "fna-live", False),
        ("seg", "fna", True),
        pytest.param("seg", "fna-live", False, marks=pytest.mark.slow),
    ],
)
def test_exported_seed_comes_back(task: str | None, remap: str, shuffle: bool) -> None:
    settings = ExpandSettings(task=task, classes=5 if task else None, remap=remap)
    seed = renamed(exported()) if shuffle else exported()
    prepared = prepare_seed(seed, settings, manager=quiet())
    manager = PassManager()
    made = expand(seed, settings, manager=manager)
    assert manager.ledger[-1].name == "mix"
    assert manager.ledger[-1].verdict == "equal"
    target, _ = applied(Choose(), made)
    prepared.refresh_shapes()
    target.refresh_shapes()
    assert same_graph(target, prepared)


@pytest.mark.parametrize("name", FOUND)
def test_found_seed_comes_back(shared_data: Path, name: str) -> None:
    seed = renamed(Graph.load(shared_data / FOUND[name]))
    settings = ExpandSettings(size=(96, 96), space="mbconv-seg")
    prepared = prepare_seed(seed, settings, manager=quiet())
    mixed, _ = applied(Mix(depths=(4, 4, 6, 6, 4, 1)), prepared)
    target, _ = applied(Choose(), mixed)
    assert same_graph(target, prepared)
    at = [
        [c["name"] for c in layer["candidates"]].index(layer["seed_choice"])
        for layer in layers(mixed)
    ]
    feed = random_feed(prepared, (96, 96))
    a, b = run(prepared, feed), run(set_alphas(mixed, at), feed)
    for x, y in zip(a.values(), b.values(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_pass_on_a_found_seed_is_proven(shared_data: Path) -> None:
    seed = Graph.load(shared_data / FOUND["tfhub (BN folded)"])
    manager = PassManager()
    settings = ExpandSettings(task="seg", classes=3, size=(64, 64))
    asked: list[Graph] = []

    def images(g: Graph) -> np.ndarray:
        asked.append(g)
        return np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype("f4")

    made = expand(seed, settings, manager=manager, images=images)
    assert len(asked) == 1
    verdicts = {e.name: e.verdict for e in manager.ledger if e.report.rewrote}
    assert verdicts == {
        "raise-opset": "equal",
        "unify-clip": "equal",
        "restore-batchnorm": "equal",
        "cut-classifier": "drift",
        "set-output-stride": "drift",
        "attach-head": "drift",
        "mix": "equal",
    }
    assert [e["pass"] for e in made.manifest["ledger"]] == [e.name for e in manager.ledger]
    assert np.isfinite(next(iter(run(made, random_feed(made)).values()))).all()


# ------------------------------------------------------------------ what goes in, what comes out


def test_the_seed_is_left_as_it_was() -> None:
    seed = exported()
    before = seed.to_model().SerializeToString()
    expand(seed, ExpandSettings(task="seg", classes=3, remap="random"), manager=quiet())
    assert seed.to_model().SerializeToString() == before


def test_the_manifest() -> None:
    settings = ExpandSettings(
        task="seg", classes=3, output_stride=8, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    made = expand(exported(), settings, manager=quiet()).manifest
    assert {
        k: made[k] for k in ("role", "task", "head", "num_classes", "output_stride", "remap")
    } == {
        "role": "super",
        "task": "seg",
        "head": "deeplabv3",
        "num_classes": 3,
        "output_stride": 8,
        "remap": "fna",
    }
    assert made["preprocessing"] == {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "color": "RGB",
        "range": [0.0, 1.0],
        "layout": "NCHW",
        "resize": "stretch",
        "assumed": False,
    }
    assert made["outputs"] == [{"name": "logits", **RAW["seg"][0]}]
    assert made["stride"] == 8
    assert made["size"] == [32, 32]
    assert made["classes"] is None


def test_an_output_stride_of_8_is_reached() -> None:
    settings = ExpandSettings(task="seg", classes=3, output_stride=8)
    made = prepare_seed(exported(), settings, manager=quiet())
    tap = next(n for n in made.nodes if n.metadata.get("fnac.part") == "head").inputs[0]
    assert made.infer((32, 32), batch=1).shapes[tap.name][2:] == (4, 4)
    assert outputs(made, random_feed(made))["logits"].shape[1:] == (3, 32, 32)


def test_a_seed_exported_with_its_head_keeps_it() -> None:
    seed = export_seed(ExportSettings("mobilenetv2_w0.25", "none", (32, 32), task="seg", classes=4))
    made = expand(seed, ExpandSettings(), manager=quiet())
    assert len(layers(made)) == 25
    same = prepare_seed(seed, ExpandSettings(task="seg", classes=4), manager=quiet())
    assert profile(same).madds == profile(seed).madds == made.manifest["seed_madds"]
    for asked, outputs_of in (
        (ExpandSettings(task="seg", classes=7), {"logits": 7}),
        (ExpandSettings(task="seg", head="deeplabv3plus", classes=4), {"logits": 4}),
    ):
        other = prepare_seed(seed, asked, manager=quiet())  # another head takes its place
        assert {t.name: t.shape[1] for t in other.outputs} == outputs_of
        assert other.manifest["head"] == (asked.head or "deeplabv3")
        fresh = prepare_seed(exported(), asked, manager=quiet())
        assert profile(other).madds == profile(fresh).madds


@pytest.mark.parametrize("answers", [True, False], ids=["arg-max", "logits"])
def test_an_emitted_file_is_a_seed_again(
    answers: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was folded: BatchNorm comes back. One that answers gets a new head, as it is said."""
    seed = export_seed(ExportSettings("mobilenetv2_w0.25", "none", (32, 32), task="seg", classes=4))
    path = seed.save(tmp_path / "seed.onnx")
    emit(path, tmp_path / "model.onnx", EmitSettings(no_postprocess=not answers))
    emitted = Graph.load(tmp_path / "model.onnx")
    assert "BatchNormalization" not in {node.op for node in emitted.nodes}
    again = prepare_seed(emitted, ExpandSettings(task="seg", classes=4), manager=quiet())
    assert [t.name for t in again.outputs] == ["logits"]
    normalised = [sum(n.op == "BatchNormalization" for n in g.nodes) for g in (seed, again)]
    assert normalised[0] - normalised[1] <= 1  # behind a pooling it cannot come back
    assert ("its head is replaced by a new one" in caplog.text) == answers


def test_random_weights_are_random_everywhere_but_structure_is_the_same() -> None:
    plain = expand(exported(), ExpandSettings(), manager=quiet())
    drawn = expand(exported(), ExpandSettings(remap="random"), manager=quiet())
    assert [la["candidates"] for la in layers(plain)] == [la["candidates"] for la in layers(drawn)]
    stem = {c.name: c.values for c in drawn.constants()}["features.0.0.weight"]
    seed = {c.name: c.values for c in plain.constants()}["features.0.0.weight"]
    assert not np.array_equal(stem, seed)


def test_auto_space_fits_networks_of_any_number_of_stages() -> None:
    seed = mbconv_network(size=32)
    made = expand(seed, ExpandSettings(task="seg", classes=3), manager=quiet())
    assert [la["name"] for la in layers(made)] == [
        "stage1.layer0", "stage1.layer1", "stage2.layer0",
    ]  # fmt: skip
    with pytest.raises(UnsupportedGraphError, match="depths for 6 stages were given"):
        expand(seed, ExpandSettings(space="mbconv-seg"), manager=quiet())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"remap": "best"}, "--remap best: no such name; known: fna, fna-live"),
        (
            {"task": "pose", "classes": 3, "head": "fcn"},
            "--head fcn: no such name; known: own, simplebaseline",
        ),
        ({"head": "deeplabv3"}, "--head deeplabv3: a head needs its --task"),
        (
            {"task": "seg", "classes": 2, "output_stride": 4},
            "--output-stride 4: wanted 8, 16 or 32",
        ),
        ({"size": (16, 64)}, "--size 16x64: wanted at least 32x32"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std: one of them was given"),
        ({"task": "seg"}, "--task seg: the head needs --classes N"),
        ({"task": "seg", "classes": 0}, "--classes 0: wanted at least 1"),
        ({"space": "huge"}, "--space huge: no such name; known: auto, .*, or a YAML file"),
        (
            {"task": "seg", "classes": 2, "head": "unet"},
            "--head unet: no such name; known: own, deeplabv3",
        ),
    ],
)
def test_settings_are_refused_in_the_words_of_the_options(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        expand(exported(), ExpandSettings(**settings), manager=quiet())


def test_what_has_nothing_to_search_is_refused() -> None:
    seed = graph("""(float[N,3,32,32] x) => (float[N,5,32,32] y)
        <float[4,3,3,3] a, float[5,4,1,1] b>
        { s = Conv<pads=[1,1,1,1]>(x, a) r = Relu(s) y = Conv(r, b) }""")
    with pytest.raises(UnsupportedGraphError, match="no blocks to search; fnac inspect"):
        expand(seed, ExpandSettings(), manager=quiet())
    with pytest.raises(UnsupportedGraphError, match="--space resnet offers nothing to choose in"):
        expand(exported(), ExpandSettings(space="resnet"), manager=quiet())
    made = expand(exported(), ExpandSettings(), manager=quiet())
    with pytest.raises(UsageError, match="is a super network already"):
        expand(made, ExpandSettings(), manager=quiet())


def test_explain_tells_what_expand_would_do(shared_data: Path) -> None:
    told = explain(exported(), "mbconv-seg")
    made = expand(exported(), ExpandSettings(space="mbconv-seg"), manager=quiet())
    rows = [row for row in told.blocks if row["candidates"] != "stays as it is"]
    assert [(row["candidates"].split(), row["is"]) for row in rows] == [
        ([c["name"] for c in layer["candidates"]], layer["seed_choice"]) for layer in layers(made)
    ]
    assert told.left[0] == {
        "node": "features.0.0",
        "why": left_alone("3x3"),
    }
    v1 = explain(Graph.load(shared_data / "weights_imagenet" / "mobilenet_v1_keras_bn_trunc.onnx"))
    assert {(row["kind"], row["candidates"]) for row in v1.blocks} == {("plain", "k3 k5 k7")}
    assert {row["why"] for row in v1.left} == {
        left_alone("1x1"),
        "it reads the network's input: the stem stays as it is",
    }


def test_heads_want_colour_pictures() -> None:
    grey = graph("""(float[N,1,32,32] x) => (float[N,4,1,1] y) <float[4,1,3,3] a, float[4,4,3,3] b>
        { s = Conv<pads=[1,1,1,1]>(x, a) r = Relu(s) c = Conv<pads=[1,1,1,1]>(r, b)
          y = GlobalAveragePool(c) }""")
    assert layers(expand(grey, ExpandSettings(), manager=quiet()))
    with pytest.raises(UnsupportedGraphError, match="one input of colour images as floats"):
        expand(grey, ExpandSettings(task="seg", classes=2), manager=quiet())


@pytest.mark.parametrize(("count", "refused"), [("Size(h)", False), ("ReduceMax(h)", True)])
def test_control_flow_is_folded_or_refused(count: str, refused: bool) -> None:
    """torch writes an If for a squeeze whose rank it does not know."""
    body = f"""(float[N,3,32,32] x) => (float[N,4,32,32] y)
        <float[4,3,3,3] a, float[4,4,3,3] b, int64 four = {{4}}>
        {{ s = Conv<pads=[1,1,1,1]>(x, a) r = Relu(s) c = Conv<pads=[1,1,1,1]>(r, b)
           h = Shape(c) n = {count.replace("ReduceMax", "ReduceMax<keepdims=0>")} t = Equal(n, four)
           y = If(t) <then_branch = g () => (float[N,4,32,32] p) {{ p = Relu(c) }},
                      else_branch = g () => (float[N,4,32,32] q) {{ q = Neg(c) }}> }}"""
    seed = graph(body)
    if refused:
        with pytest.raises(UnsupportedGraphError, match=r"y \(If\): what it runs depends on the n"):
            expand(seed, ExpandSettings(), manager=quiet())
    else:
        assert layers(expand(seed, ExpandSettings(), manager=quiet()))


def test_control_flow_behind_the_features_goes_with_the_classifier() -> None:
    body = """(float[N,3,32,32] x) => (float[N,4,1,1] y)
        <float[4,3,3,3] a, float[4,4,3,3] b, float zero = {0}>
        { s = Conv<pads=[1,1,1,1]>(x, a) r = Relu(s) c = Conv<pads=[1,1,1,1]>(r, b)
          g = GlobalAveragePool(c) m = ReduceMax<keepdims=0>(g) t = Greater(m, zero)
          y = If(t) <then_branch = d () => (float[N,4,1,1] p) { p = Relu(g) },
                     else_branch = d () => (float[N,4,1,1] q) { q = Neg(g) }> }"""
    with pytest.raises(UnsupportedGraphError, match=r"y \(If\): what it runs depends on the n"):
        expand(graph(body), ExpandSettings(), manager=quiet())
    made = expand(graph(body), ExpandSettings(task="seg", classes=2), manager=quiet())
    assert "If" not in {node.op for node in made.nodes}


def test_an_output_stride_that_nobody_asked_for_is_what_the_graph_allows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A valid 5x5 window cannot be dilated; asked for, that is an error."""
    body = """(float[N,3,64,64] x) => (float[N,4,1,1] y) <float[4,3,2,2] a, float[4,4,3,3] b,
                                                              float[4,4,5,5] c>
        { s0 = Conv<strides=[2,2]>(x, a) r = Relu(s0)
          t = MaxPool<kernel_shape=[4,4], strides=[4,4]>(r)
          u = Conv<pads=[1,1,1,1]>(t, b) v = Conv<strides=[4,4]>(u, c)
          y = GlobalAveragePool(v) }"""
    made = expand(graph(body), ExpandSettings(task="seg", classes=2), manager=quiet())
    assert made.manifest["output_stride"] == 32
    assert "output stride 32 instead of 16: v (Conv): its padding" in caplog.text
    asked = ExpandSettings(task="seg", classes=2, output_stride=16)
    with pytest.raises(UnsupportedGraphError, match="choose an output stride of 32 or more"):
        expand(graph(body), asked, manager=quiet())


def test_what_an_earlier_adaptation_wrote_is_dropped() -> None:
    plain = prepare_seed(exported(), ExpandSettings(), manager=quiet()).manifest
    used = exported().copy()
    used.manifest.update(
        role="target", search={"steps": 3}, tune={"steps": 3}, arch=["k3e3"], arch_layers=["a"],
        layers=[], postprocess="argmax", fixed_madds=1, fixed_params=1, seed_madds=1,
        seed_params=1, ledger=[{"pass": "choose"}],
    )  # fmt: skip
    assert prepare_seed(used, ExpandSettings(), manager=quiet()).manifest == plain


def test_a_target_is_a_seed_again() -> None:
    settings = ExpandSettings(task="seg", classes=3)
    made = expand(exported(), settings, manager=quiet())
    arch = [c["candidates"][-2]["name"] for c in layers(made)]
    target, _ = applied(Choose(arch=tuple(arch)), made)
    manager = PassManager()
    again = expand(Graph.from_model(target.to_model()), ExpandSettings(), manager=manager)
    assert manager.ledger[-1].verdict == "equal"
    assert "arch" not in again.manifest
    assert again.manifest["seed_madds"] == profile(target).madds


# ------------------------------------------------------------------ another size than the file's


@pytest.mark.parametrize(
    ("name", "size"),
    [
        # auto_pad: odd sides pad otherwise
        ("weights_imagenet/mobilenet_v2_tf_qat_qdq.onnx", (120, 160)),
        # its own head, of fixed sizes, goes
        ("weights_imagenet/deeplabv3_mnv2_pascal_qdq.onnx", (97, 97)),
        ("wild/nanodet_m.onnx", (96, 160)),  # channel shuffles of fixed sizes
    ],
)
def test_a_found_network_takes_another_size_and_head(
    shared_data: Path, name: str, size: tuple[int, int]
) -> None:
    g = Graph.load(shared_data / name)
    settings = ExpandSettings(task="seg", classes=11, size=size, restore_batchnorm=False)
    made = prepare_seed(g, settings)  # every pass is proven
    assert [list(t.shape) for t in made.outputs] == [[made.outputs[0].shape[0], 11, *size]]
    assert made.manifest["taps"][0]["channels"] == (96 if "nanodet" in name else 320)
    backbone = [n for n in made.nodes if n.metadata.get("fnac.part") != "head"]
    assert not any(node.op == "BatchNormalization" for node in backbone)


def test_batchnorm_that_was_never_there_is_put_in_where_it_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    g = graph(
        """(float[1,3,16,16] x) => (float[1,2,16,16] y)
        <float[4,3,3,3] a, float[4] b, float[2,4,3,3] c, float[2] d>
        { s = Conv<pads = [1, 1, 1, 1]>(x, a, b) r = Relu(s)
          y = Conv<pads = [1, 1, 1, 1]>(r, c, d) }"""
    )
    for wanted, there, told in (
        (True, 0, "BN was never there; expand.restore_batchnorm=all puts it in"),
        ("all", 1, "batch normalisation is put in uncalibrated"),
        (False, 0, ""),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="fnac"):
            made = prepare_seed(g, ExpandSettings(restore_batchnorm=wanted), manager=quiet())
        assert [node.op for node in made.nodes].count("BatchNormalization") == there
        assert told in caplog.text
        assert ("normalisation" in caplog.text) == bool(told)


def test_a_trained_decoder_follows_another_size(shared_data: Path) -> None:
    g = Graph.load(shared_data / "weights_imagenet" / "deeplabv3_mnv2_pascal_qdq.onnx")
    made = prepare_seed(g, ExpandSettings(size=(97, 129), restore_batchnorm=False), manager=quiet())
    assert [list(t.shape[1:]) for t in made.outputs] == [[21, 97, 129]]
