"""The contract of a file: its form in the manifest, and what other tools read beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx
import pytest

from fnac.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import (
    BOXES,
    Contract,
    InputContract,
    plain_entries,
    state_input,
    state_outputs,
)
from fnac.passes.graph.joint_names import mirrored_pairs
from tests.support.graphs import graph

NETWORK = """(float[N,3,32,48] x) => (y) <float[2,3,1,1] w> { y = Conv(x, w) }"""
JOINTS = ["nose", "left_eye", "right_eye", "left_ear"]


def plain(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_what_is_written_is_what_is_read() -> None:
    stated = InputContract(
        size=(32, 48),
        mean=(1.0, 2.0, 3.0),
        std=(4.0, 5.0, 6.0),
        color="BGR",
        range=(0.0, 255.0),
        layout="NHWC",
        resize="letterbox",
        pad=(7.0, 8.0, 9.0),
        assumed=False,
    )
    manifest = {"size": [32, 48], "preprocessing": stated.preprocessing(), "task": "det"}
    assert Contract.read(manifest).input == stated
    assert stated.on_unit_range() == ((1 / 255, 2 / 255, 3 / 255), (4 / 255, 5 / 255, 6 / 255))
    assert stated.padding() == (7.0, 8.0, 9.0)
    assert stated.as_json()["size"] == [32, 48]


def test_a_file_that_says_nothing_is_assumed_and_says_so() -> None:
    found = Contract.read({}).input
    assert found.assumed
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.padding() == pytest.approx((123.675, 116.28, 103.53))
    assert not Contract.read({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}}).input.assumed


def test_stating_one_thing_keeps_the_rest() -> None:
    manifest = {"preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3, "color": "BGR"}}
    state_input(manifest, resize="sides", sides=(80, 133))
    found = Contract.read(manifest).input
    assert (found.mean, found.color, found.sides) == ((0.5,) * 3, "BGR", (80, 133))
    assert "size" not in manifest


def test_outputs_are_named_and_those_that_mean_something_say_it() -> None:
    manifest: dict[str, object] = {}
    state_outputs(manifest, ["aux", "boxes", "more"], (BOXES,), 1)
    assert manifest["outputs"] == [{"name": "aux"}, {"name": "boxes", **BOXES}, {"name": "more"}]


def test_joints_and_their_mirror_are_part_of_a_pose_contract() -> None:
    found = Contract.read({"task": "pose", "classes": JOINTS, "limbs": [[0, 1], [0, 2]]}).as_json()
    assert found["joints"] == JOINTS
    assert found["limbs"] == [[0, 1], [0, 2]]
    assert found["mirrored"] == [[1, 2]]
    assert mirrored_pairs(JOINTS) == ((1, 2),)
    stated = Contract.read({"task": "pose", "classes": ["a", "b", "c"], "mirrored": [[2, 0]]})
    assert stated.as_json()["mirrored"] == [[2, 0]]
    assert Contract.read({"task": "pose", "classes": ["LHip", "RHip"]}).mirrored == ((0, 1),)


def test_other_tools_find_their_entries_beside_the_manifest(tmp_path: Path) -> None:
    g = graph(NETWORK)
    g.manifest.update(task="det", classes=["cat", "it's a dog"], size=[32, 48], stride=32)
    found = plain(g.save(tmp_path / "m.onnx"))
    assert (found["task"], found["imgsz"], found["stride"]) == ("detect", "[32, 48]", "32")
    assert ast.literal_eval(found["names"]) == {0: "cat", 1: "it's a dog"}
    again = Graph.load(tmp_path / "m.onnx")
    assert not again.metadata.keys() & found.keys()
    again.manifest["classes"] = ["bird"]
    assert ast.literal_eval(plain(again.save(tmp_path / "n.onnx"))["names"]) == {0: "bird"}
    pose = plain_entries({"task": "pose", "classes": JOINTS})
    assert pose["kpt_shape"] == "[4, 3]"
    assert ast.literal_eval(pose["kpt_names"]) == {0: JOINTS}
    assert plain_entries({"role": "seed"}) == {}


def test_a_found_files_own_entries_stay(tmp_path: Path) -> None:
    g = graph(NETWORK)
    g.metadata.update(task="detect", names="{0: 'cat'}")
    assert plain(g.save(tmp_path / "m.onnx")) == {"task": "detect", "names": "{0: 'cat'}"}
    assert Graph.load(tmp_path / "m.onnx").metadata == {"task": "detect", "names": "{0: 'cat'}"}


@pytest.mark.parametrize(
    "stated",
    [
        {"mean": [0, 0, 0]},
        {"mean": [0, 0, 0], "std": [1, 1]},
        {"resize": "squeeze"},
        {"layout": "CHWN"},
        {"color": "GRB"},
        {"assumed": "yes"},
        {"sides": [1]},
    ],
)
def test_a_contract_that_is_not_of_its_form_is_refused(stated: object) -> None:
    g = graph(NETWORK)
    g.manifest["preprocessing"] = stated
    with pytest.raises(UnsupportedGraphError, match="preprocessing is"):
        Graph.from_model(g.to_model())


def test_outputs_and_limbs_have_their_form() -> None:
    for key, value in (("outputs", [{"meaning": "x"}]), ("limbs", [[1]]), ("stride", -1)):
        g = graph(NETWORK)
        g.manifest[key] = value
        with pytest.raises(UnsupportedGraphError, match=f"{key} is"):
            Graph.from_model(g.to_model())
