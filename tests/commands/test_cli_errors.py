"""What can be wrong with the input, and what the user gets: one sentence and the exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from PIL import Image

from fnac.cli import run
from fnac.passes.graph import Graph
from tests.support.graphs import graph

BODY = """(float[batch,3,16,16] x) => (float[batch,2,16,16] y) <float[4,3,3,3] w, float[2,4,1,1] v>
          { h = Conv<pads=[1,1,1,1]>(x, w) r = Relu(h) y = Conv(r, v) }"""

Outcome = tuple[int, str, str]


@pytest.fixture
def fnac(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run one command line in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Outcome:
        code = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seed") / "seed.onnx"
    assert run(["export", "bundled", "--task", "seg", "--classes", "3", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def expanded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("super")
    seed, path = folder / "seed.onnx", folder / "super.onnx"
    assert run(["export", "bundled", "-o", str(seed)]) == 0
    assert run(["expand", str(seed), "--no-verify", "--size", "32x32", "-o", str(path)]) == 0
    return path


def broken(kind: str, path: Path) -> Path:
    g = graph(BODY)
    if kind == "nan":
        bad = np.full((2, 4, 1, 1), np.nan, "f4")
        g.nodes[2].inputs[1] = gs.Constant("v", bad)
    model = g.to_model()
    match kind:
        case "opset":
            model.opset_import[0].version = 99
        case "operator":
            model.graph.node[1].op_type = "Sparkle"
        case "cycle":
            model.graph.node[0].input[0] = "y"
    data = model.SerializeToString()
    match kind:
        case "truncated":
            data = data[: len(data) // 2]
        case "empty":
            data = b""
        case "text":
            data = b"<html>not found</html>"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "text", "opset", "operator", "cycle", "nan"]
)
@pytest.mark.parametrize("verb", ["expand", "tune"])
def test_a_broken_file_is_one_sentence_and_exit_3(fnac, tmp_path, kind, verb) -> None:  # type: ignore[no-untyped-def]
    path = broken(kind, tmp_path / "m.onnx")
    more = ["--data", "scenes:train=8,val=2,size=32"] if verb == "tune" else []
    code, out, err = fnac(verb, path, "-o", tmp_path / "out", *more)
    assert (code, out) == (3, ""), err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("fnac: ")
    left = {p.name for p in tmp_path.rglob("*")}
    assert left == {"m.onnx"}, "something half-written was left behind"


def test_inspecting_and_profiling_a_broken_file(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = broken("truncated", tmp_path / "m.onnx")
    for verb in ("inspect", "profile", "verify", "emit", "bench"):
        arguments = [path, path] if verb == "verify" else [path]
        code, out, err = fnac(verb, *arguments)
        assert (code, out) == (3, ""), (verb, err)
        assert "Traceback" not in err


def test_files_that_differ_are_exit_5_and_name_the_node(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    g = graph(BODY)
    g.save(tmp_path / "a.onnx")
    values = g.nodes[2].inputs[1].values.copy()  # type: ignore[attr-defined]
    values[0, 0] += 1
    g.nodes[2].inputs[1] = gs.Constant("v", values)
    g.save(tmp_path / "b.onnx")
    code, _, err = fnac("verify", tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert code == 5
    assert "first at node y" in err
    code, out, _ = fnac("verify", tmp_path / "a.onnx", tmp_path / "b.onnx", "--json")
    found = json.loads(out)
    assert code == 5
    assert found["equal"] is False
    assert found["first_difference"] == "y"
    assert found["max_abs_diff"] > 0


def test_the_same_file_twice_is_equal(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = graph(BODY).save(tmp_path / "a.onnx")
    assert fnac("verify", path, path) == (0, "equal to the bit\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["adapt", "--task", "dance"], "--task dance: no such name"),
        (["adapt", "--task", "seg", "--budget", "much"], "--budget much"),
        (["adapt", "--task", "seg", "--set", "tune.epoch=1"], "tune.epoch: no such setting"),
        (["adapt", "--task", "seg", "--set", "tunes.epochs=1"], "tunes: no such section"),
        (["adapt", "--task", "seg", "--recipe", "nope"], "--recipe nope: no such name"),
        (["adapt", "--task", "seg", "--resume"], "--resume: there is no runs/seg"),
        (["adapt", "--task", "seg", "--data", "nope:/x"], "nope"),
        (["export", "resnet9000"], "resnet9000"),
        (["run-pass", "sparkle", "m.onnx", "-o", "n.onnx"], "no pass is called 'sparkle'"),
    ],
)
def test_usage_errors_are_exit_2(fnac, arguments: list[str], words: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = fnac(*arguments)
    assert code == 2, err
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_an_impossible_budget_is_refused_with_the_least_cost(fnac, expanded, tmp_path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fnac("derive", expanded, "--budget", "0.01x", "-o", tmp_path / "t.onnx")
    assert code == 2
    assert "the least this search space can reach is" in err
    assert not (tmp_path / "t.onnx").exists()


def test_derive_keeps_below_the_budget(fnac, expanded, tmp_path) -> None:  # type: ignore[no-untyped-def]
    seed = Graph.load(expanded).manifest["seed_madds"]
    code, out, _ = fnac("derive", expanded, "--budget", "0.8x", "-o", "t.onnx", "--json")
    assert code == 0
    code, out, _ = fnac("profile", "t.onnx", "--json")
    assert 0.76 * seed <= json.loads(out)["madds"] <= 0.8 * seed


def test_deriving_the_seeds_architecture_returns_the_seed(fnac, expanded, tmp_path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fnac("derive", expanded, "--arch", "seed", "-o", "t.onnx")
    assert code == 0, err
    seed = expanded.with_name("seed.onnx")
    code, out, err = fnac("verify", seed, "t.onnx", "--size", "32x32")
    assert (code, out) == (0, "equal to the bit\n"), err


def test_inspect_of_a_super_network_names_its_layers(fnac, expanded) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = fnac("inspect", expanded, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["role"] == "super"
    assert {"name", "candidates", "seed_choice"} <= found["layers"][0].keys()
    assert {"name", "madds", "params"} <= found["layers"][0]["candidates"][0].keys()


def folder_of_pictures(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            image.save(root / "images" / split / f"{i}.png")
            mask = Image.fromarray(rng.integers(0, 3, (64, 64), dtype=np.uint8))
            mask.save(root / "masks" / split / f"{i}.png")
    (root / "classes.txt").write_text("a\nb\nc\n")
    return root


@pytest.mark.parametrize("damage", ["missing mask", "corrupt image", "label out of range"])
def test_broken_data_is_exit_6_before_training(fnac, bundled, tmp_path, damage: str) -> None:  # type: ignore[no-untyped-def]
    root = folder_of_pictures(tmp_path / "data")
    match damage:
        case "missing mask":
            (root / "masks" / "train" / "2.png").unlink()
            name = "2"
        case "corrupt image":
            path = root / "images" / "train" / "1.png"
            path.write_bytes(path.read_bytes()[:100])
            name = "1.png"
        case _:
            Image.fromarray(np.full((64, 64), 7, np.uint8)).save(root / "masks" / "train" / "3.png")
            name = "3.png"
    code, out, err = fnac("tune", bundled, "--data", f"folder:{root}", "-o", tmp_path / "run")
    assert (code, out) == (6, ""), err
    assert name in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_data_folder_that_is_not_there(fnac, bundled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fnac("eval", bundled, "--data", f"camvid:{tmp_path}/none")
    assert code == 6
    assert "none" in err


def test_weights_that_cannot_be_downloaded_say_what_to_do(fnac, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import torch

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", os.devnull + "-none")
    code, out, err = fnac("export", "mobilenetv2", "-o", "m.onnx", "--json")
    assert code == 2
    assert out == "", "what is downloaded is no result"
    assert "--weights" in err
    assert not Path("m.onnx").exists()


def test_a_graph_that_cannot_run_is_refused(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = graph(BODY).to_model()
    model.graph.node[0].attribute.extend([onnx.helper.make_attribute("group", 2)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    code, _, err = fnac("emit", tmp_path / "m.onnx", "-o", tmp_path / "out.onnx")
    assert code == 3
    assert "onnxruntime cannot run the graph" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out.onnx").exists()


def test_a_typo_in_a_section_is_named(fnac, expanded) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fnac("profile", expanded, "--set", "profil.convention=paper")
    assert code == 2
    assert "profil: no such section of settings; did you mean 'profile'?; known: " in err


def test_settings_of_a_file_hold_without_the_option(fnac, expanded, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "c.yaml").write_text("profile: {convention: paper}\n")
    _, out, _ = fnac("profile", expanded, "--json", "--config", tmp_path / "c.yaml")
    assert json.loads(out)["convention"] == "paper"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["adapt", "no.onnx", "--task", "seg", "-o", "run"], 2),
        (["adapt", "--task", "seg", "--set", "tune.bogus=1", "-o", "run"], 2),
        (["adapt", "--task", "seg", "--budget", "0.01x", "-o", "run", "--no-verify"], 2),
        (["adapt", "--task", "seg", "--data", "camvid:none", "-o", "run"], 6),
    ],
)
def test_a_run_that_never_began_leaves_no_folder(fnac, arguments, code, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _, err = fnac(*arguments)
    assert found == code, err
    assert list(tmp_path.iterdir()) == []


def test_skip_bad_leaves_out_what_is_wrong_and_counts(fnac, bundled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / kind / "val").mkdir(parents=True)
    (data / "classes.txt").write_text("a\nb\nc\n")
    for name, label in (("good", 1), ("wrong", 9)):
        Image.new("RGB", (32, 32)).save(data / "images" / "val" / f"{name}.png")
        Image.new("L", (32, 32), label).save(data / "masks" / "val" / f"{name}.png")
    words = ("eval", bundled, "--data", f"folder:{data}", "--json")
    code, out, err = fnac(*words, "--skip-bad")
    assert code == 0, err
    assert json.loads(out)["images"] == 1
    assert "1 of 2 samples of 'val' are left out; the first:" in err
    assert "label id 9" in err


def test_pictures_that_restored_bn_is_calibrated_on_may_be_bad(fnac, bundled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folded = tmp_path / "folded.onnx"
    assert fnac("emit", bundled, "--no-postprocess", "--no-verify", "-o", folded)[0] == 0
    data = pictures(tmp_path / "data", "train", "val")
    (tmp_path / "data" / "masks" / "train" / "a.png").unlink()
    out = tmp_path / "super.onnx"
    words = ("expand", folded, "--task", "seg", "--size", "32x32", "--no-verify", "--data", data)
    code, _, err = fnac(*words, "-o", out)
    assert (code, out.exists(), "a.png: no such file" in err) == (6, False, True), err
    code, _, err = fnac(*words, "--skip-bad", "-o", out)
    assert code == 0, err
    assert "1 of 4 samples of 'train' are left out; the first:" in err

    (tmp_path / "data" / "images" / "val" / "b.png").write_bytes(b"no image")
    words = (*words[:-1], f"pictures:{tmp_path / 'data' / 'images'}", "-o", tmp_path / "other.onnx")
    code, _, err = fnac(*words)
    assert (code, "b.png: cannot be decoded (not an image of a known format)" in err) == (
        6,
        True,
    ), err
    code, _, err = fnac(*words, "--skip-bad")
    assert code == 0, err
    assert "1 of 8 samples of 'train' are left out" in err
    assert "batch normalisation restored after" in err
    (tmp_path / "data" / "images" / ".thumbnails").mkdir()
    (tmp_path / "data" / "images" / ".thumbnails" / "c.png").write_bytes(b"hidden")
    code, _, err = fnac(*words, "--skip-bad")
    assert (code, "1 of 8 samples of 'train' are left out" in err) == (0, True), err
    code, _, err = fnac("expand", folded, "--data", "pictures:", "--task", "seg")
    assert (code, "pictures:: it names no folder; wanted pictures:FOLDER" in err) == (2, True), err
    code, _, err = fnac(
        "expand", folded, "--data", f"pictures:{tmp_path / 'none'}", "--task", "seg"
    )
    assert (code, "no such folder; wanted a folder of images" in err) == (6, True), err


def pictures(root: Path, *splits: str) -> str:
    for split in splits:
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (root / kind / split).mkdir(parents=True)
            for name in "abcd":
                Image.new(mode, (32, 32)).save(root / kind / split / f"{name}.png")
    (root / "classes.txt").write_text("a\nb\nc\n")
    return f"folder:{root}"


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_split_that_is_needed_is_missed_before_training(fnac, tmp_path, more) -> None:  # type: ignore[no-untyped-def]
    spec = pictures(tmp_path / "data", "train")
    words = ["adapt", "--task", "seg", "--data", spec, "--size", "32x32", "-o", "run", *more]
    code, _, err = fnac(*words)
    assert (code, "found train; wanted images for 'val'" in err) == (6, True), err
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_class_names_are_unique(fnac, bundled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = pictures(tmp_path / "data", "val")
    (tmp_path / "data" / "classes.txt").write_text("a\nb\na\n")
    code, _, err = fnac("eval", bundled, "--data", spec)
    assert (code, "'a' is listed twice; wanted each class name once" in err) == (6, True)


def test_outputs_are_files(fnac, bundled, tmp_path) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "pipe")
    code, _, err = fnac("run-pass", "clean", bundled, "-o", tmp_path / "pipe")
    assert (code, "not a regular file; it would be replaced by one" in err) == (2, True), err
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    assert fnac("run-pass", "clean", bundled, "-o", tmp_path / "link.onnx")[0] == 0
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "real.onnx").stat().st_size > 100_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_bug(bundled) -> None:  # type: ignore[no-untyped-def]
    import subprocess
    import sys

    with open("/dev/full", "wb") as full:
        words = [sys.executable, "-m", "fnac.cli", "profile", str(bundled), "--json"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "No space left on device" in done.stderr) == (2, True), done.stderr
    assert "bug" not in done.stderr


def test_weights_that_are_not_numbers_are_not_equal(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = broken("nan", tmp_path / "nan.onnx")
    code, _, err = fnac("verify", path, path)
    assert (code, "NaN or infinite" in err) == (3, True), err


def test_a_seed_that_expand_refuses_for_its_numbers_is_refused_by_inspect(fnac, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = broken("nan", tmp_path / "nan.onnx")
    code, out, err = fnac("inspect", path)
    assert (code, out) == (3, "")
    assert "v: 8 of 8 values are NaN or infinite" in err
    assert fnac("profile", path)[0] == 0, "costs do not depend on the numbers"


def test_a_width_of_nothing(fnac) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fnac("export", "mobilenetv2", "--weights", "none", "--width", "0")
    assert (code, "--width 0: wanted a multiplier above 0" in err) == (2, True), err
