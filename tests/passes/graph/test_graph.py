from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from fnac.passes.errors import (
    FileNotThereError,
    FileNotWritableError,
    PassFailedError,
    UnsupportedGraphError,
)
from fnac.passes.graph import Graph
from tests.support.graphs import graph, outputs, text

TWO_CONVS = """(float[batch,2,8,8] x) => (float[batch,3,8,8] y) <float[4,2,3,3] w, float[3,4,1,1] v>
               { h = Conv<pads=[1,1,1,1]>(x, w) r = Relu(h) y = Conv(r, v) }"""


def test_a_round_trip_keeps_metadata_manifest_and_documentation(tmp_path: Path) -> None:
    g = graph(TWO_CONVS)
    g.metadata["author"] = "somebody"
    g.manifest = {"role": "seed", "size": [8, 8]}
    g.doc_string = "two convolutions"
    g.nodes[1].metadata["fnac.part"] = "head"
    g.save(tmp_path / "m.onnx")
    back = Graph.load(tmp_path / "m.onnx")
    assert back.metadata == {"author": "somebody"}
    assert back.manifest == {"role": "seed", "size": [8, 8]}
    assert back.doc_string == "two convolutions"
    assert [n.metadata for n in back.nodes] == [{}, {"fnac.part": "head"}, {}]
    assert text(back) == text(g)
    assert onnx.load(tmp_path / "m.onnx").ir_version == 10


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotThereError, match="it is a folder, and holds no ONNX file"):
        Graph.load(tmp_path)
    graph(TWO_CONVS).save(tmp_path / "b.onnx")
    assert text(Graph.load(tmp_path)) == text(graph(TWO_CONVS))
    other = graph(TWO_CONVS)
    other.doc_string = "the emitted one"
    other.save(tmp_path / "a.onnx")
    with pytest.raises(FileNotThereError, match=r"holds a\.onnx, b\.onnx; name one of them"):
        Graph.load(tmp_path)
    other.save(tmp_path / "model.onnx")
    assert Graph.load(tmp_path).doc_string == "the emitted one"


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    (tmp_path / "m.onnx").write_text(pointer)
    with pytest.raises(UnsupportedGraphError, match=r"m\.onnx: a Git LFS pointer; .*git lfs pull"):
        Graph.load(tmp_path / "m.onnx")
    model = graph(TWO_CONVS).to_model()
    onnx.save_model(
        model,
        tmp_path / "n.onnx",
        save_as_external_data=True,
        location="n.onnx.data",
        size_threshold=0,
    )
    (tmp_path / "n.onnx.data").write_text(pointer)  # the file is there, its weights are not
    with pytest.raises(UnsupportedGraphError, match=r"n\.onnx\.data: a Git LFS pointer"):
        Graph.load(tmp_path / "n.onnx")


def test_a_squeeze_that_drops_the_batch_is_named() -> None:
    """Of two images it drops the map alone, of one the batch as well."""
    body = """(float[batch,2,8,8] x) => (float[batch,3] y) <float[3,2] w>
              { p = GlobalAveragePool(x) s = Squeeze(p) y = Gemm<transB=1>(s, w) }"""
    net = graph(body)
    assert net.infer(batch=2).shapes["y"] == (2, 3)
    with pytest.raises(UnsupportedGraphError) as told:
        net.infer(batch=1)
    assert str(told.value).startswith(
        "shapes cannot be inferred: y (Gemm): Input 0 expected to have rank 2 but has rank 1"
    )
    assert "s (Squeeze) names no axes: of one image it drops the batch as well" in str(told.value)


def test_a_copy_shares_no_structure() -> None:
    g = graph(TWO_CONVS)
    twin = g.copy()
    before = text(g)
    twin.nodes[0].attrs["pads"][0] = 7
    twin.nodes[0].inputs[1] = gs.Constant("other", np.zeros((4, 2, 3, 3), "f4"))
    twin.manifest["role"] = "changed"
    twin.cleanup()
    assert text(g) == before
    assert g.manifest == {}


def test_anonymous_and_doubled_node_names_become_unique() -> None:
    model = graph(TWO_CONVS).to_model()
    model.graph.node[0].name = ""
    model.graph.node[1].name = "same"
    model.graph.node[2].name = "same"
    names = [n.name for n in Graph.from_model(model).nodes]
    assert len(set(names)) == 3
    assert all(names)


def test_two_tensors_of_one_name_are_refused_when_written() -> None:
    g = graph(TWO_CONVS)
    g.nodes[2].inputs[1] = gs.Constant("w", np.zeros((3, 4, 1, 1), "f4"))
    with pytest.raises(PassFailedError, match="w: two tensors have this name"):
        g.to_model()


def test_cleanup_drops_what_no_output_needs() -> None:
    g = graph(
        """(float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,2,1,1] w>
           { dead = Conv(x, w) y = Relu(x) }"""
    )
    g.cleanup()
    assert text(g) == "y = Relu(x)"


def test_toposort_mends_the_order_and_names_a_cycle() -> None:
    g = graph(TWO_CONVS)
    expected = text(g)
    g.nodes.reverse()
    g.toposort()
    assert text(g) == expected
    g.nodes[0].inputs[0] = g.nodes[2].outputs[0]
    with pytest.raises(UnsupportedGraphError, match="the graph has a cycle"):
        g.toposort()


def test_shapes_follow_the_size_and_the_batch() -> None:
    g = graph(TWO_CONVS)
    assert g.infer().shapes["y"] == ("batch", 3, 8, 8)
    assert g.infer((16, 32), batch=1).shapes["h"] == (1, 4, 16, 32)
    assert g.image_size() == (8, 8)


def test_types_are_inferred_beside_the_shapes() -> None:
    inferred = graph(
        """(float[1,2] x) => (int64[2] y) <float[2] w> { h = Mul(x, w) y = Shape(h) }"""
    ).infer()
    types = onnx.TensorProto
    assert inferred.types == {
        "x": types.FLOAT,
        "w": types.FLOAT,
        "h": types.FLOAT,
        "y": types.INT64,
    }
    assert inferred.shapes == {"x": (1, 2), "w": (2,), "h": (1, 2), "y": (2,)}


def test_becoming_another_graph_keeps_what_is_said_about_it() -> None:
    g, other = graph(TWO_CONVS), graph("(float[1] x) => (float[1] y) { y = Relu(x) }")
    g.manifest["task"] = "seg"
    assert g.new_name("h") == "h.2"
    g.become(other)
    assert text(g) == "y = Relu(x)"
    assert g.manifest == {"task": "seg"}
    assert g.new_name("h") == "h"


def test_readers_read_another_tensor_and_the_output_stays() -> None:
    g = graph("(float[1] x) => (float[1] y, float[1] z) { y = Relu(x) z = Neg(y) }")
    g.reread(g.outputs[0], g.inputs[0])
    assert text(g) == "y = Relu(x)\nz = Neg(x)"
    assert [t.name for t in g.outputs] == ["y", "z"]


def test_replacing_an_output_keeps_its_name() -> None:
    g = graph(TWO_CONVS)
    g.replace_uses(g.nodes[2].outputs[0], g.nodes[1].outputs[0])
    g.cleanup().refresh_shapes()
    assert [o.name for o in g.outputs] == ["y"]
    assert outputs(g)["y"].shape[1] == 4


def _broken(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    return path


def _model(change: str) -> bytes:
    model = graph(TWO_CONVS).to_model()
    if change == "opset":
        model.opset_import[0].version = 99
    elif change == "operator":
        model.graph.node[1].op_type = "Sparkle"
    elif change == "domain":
        model.graph.node[1].domain = "com.acme"
    elif change == "dangling":
        model.graph.node[1].input[0] = "nowhere"
    elif change == "cycle":
        model.graph.node[0].input[0] = "y"
    elif change == "double":
        model.graph.node[1].output[0] = "h"
    elif change == "manifest":
        model.metadata_props.add(key="fnac", value="{")
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the file holds no graph"),
        (b"this is no protobuf at all", "not a readable ONNX file|holds no graph"),
        (_model("")[: len(_model("")) // 2], "not a readable ONNX file|holds no graph|nowhere"),
        (_model("opset"), "operator set 99 was found; 1 to 27 are supported"),
        (_model("operator"), "r: operator Sparkle is not in operator set 17"),
        (_model("domain"), "r: operator Relu of the custom domain 'com.acme'"),
        (_model("dangling"), "r: its input 'nowhere' is computed nowhere"),
        (_model("cycle"), "the graph has a cycle"),
        (_model("double"), "r: a second tensor named 'h'"),
        (_model("manifest"), "the manifest .* is not JSON"),
    ],
    ids=["empty", "text", "cut", "opset", "op", "domain", "dangling", "cycle", "double", "json"],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, data: bytes, why: str) -> None:
    path = _broken(tmp_path, data)
    with pytest.raises(UnsupportedGraphError, match=why) as caught:
        Graph.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotThereError, match="there is no such file"):
        Graph.load(tmp_path / "none.onnx")
    with pytest.raises(FileNotThereError, match="it is a folder"):
        Graph.load(tmp_path)


def test_nan_weights_are_named() -> None:
    g = graph(TWO_CONVS)
    g.check_finite()
    bad = np.zeros((3, 4, 1, 1), "f4")
    bad[0, 0] = np.nan
    g.nodes[2].inputs[1] = gs.Constant("v2", bad)
    with pytest.raises(UnsupportedGraphError, match="v2: 1 of 12 values are NaN"):
        g.check_finite()


def test_writing_leaves_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = graph(TWO_CONVS).save(tmp_path / "m.onnx")
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    g = graph(TWO_CONVS)
    g.manifest["role"] = "seed"
    with pytest.raises(FileNotWritableError, match=r"m\.onnx: cannot be written \(disk full\)"):
        g.save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    g = graph(TWO_CONVS)
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    with pytest.raises(FileNotWritableError) as caught:
        g.save(folder)
    assert str(caught.value) == (f"{folder}: cannot be written (it is a folder); name another file")
    assert caught.value.exit_code == 2
    with pytest.raises(FileNotWritableError, match=r"m\.onnx: cannot be written \(.+\); name"):
        g.save(file / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_initializers_listed_as_inputs_are_no_inputs() -> None:
    model = graph(TWO_CONVS).to_model()
    for stored in model.graph.initializer:
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims)
        )
    assert [t.name for t in Graph.from_model(model).inputs] == ["x"]


def test_the_manifest_is_json_in_the_file() -> None:
    g = graph(TWO_CONVS)
    g.manifest = {"role": "seed"}
    stored = {p.key: p.value for p in g.to_model().metadata_props}
    assert json.loads(stored["fnac"]) == {"version": 1, "role": "seed"}
