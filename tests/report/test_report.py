from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fnac.errors import UsageError
from fnac.findings import Finding, written
from fnac.passes.stored_layers import read_layers
from fnac.report import write_report
from fnac.report.architecture import (
    BLOCK_WIDTH,
    HEAD_FILL,
    KERNEL_FILLS,
    block_height,
    draw_architectures,
)
from fnac.report.drawing import to_svg
from fnac.report.findings import findings_of
from fnac.report.network import FixedBlock, read_network
from fnac.report.run_folder import read_run_folder
from fnac.text import human, layers_text, percent, profile_text, table

CANDIDATES = ("k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6")
HOSTILE = '<script>alert("x")</script>'

# ------------------------------------------------------------------ a small generator of runs


def make_manifest(stages: Sequence[tuple[int, int, int]], **more: Any) -> dict[str, Any]:
    """(stage, layers, layers of the seed) -> manifest; costs are recognisable, not realistic."""
    layers = []
    for stage, depth, of_seed in stages:
        for at in range(depth):
            names = CANDIDATES if at == 0 else (*CANDIDATES, "skip")
            costs = []
            for name in names:
                k, e = (0, 0) if name == "skip" else (int(name[1]), int(name[3]))
                costs.append({"name": name, "madds": 1_000_000 * stage * (k + e), "params": k * e})
            own = "k3e6" if at < of_seed else "skip"
            name = f"stage{stage}.{at}"
            layers.append({
                "name": name, "stage": stage, "candidates": costs, "seed_choice": own,
                "stride": 2 if (stage, at) == (2, 0) else 1, "channels": 2 * stage,
                "dilation": 2 if stage == stages[-1][0] else 1,
            })  # fmt: skip
    return {
        "version": 1, "role": "super", "name": "mobilenetv2", "size": [96, 128], "task": "seg",
        "head": "deeplabv3", "num_classes": 2, "classes": ["road", HOSTILE], "layers": layers,
        "fixed_madds": 50_000_000, "fixed_params": 1234, **more,
    }  # fmt: skip


def save_super(path: Path, manifest: dict[str, Any]) -> None:
    """A chain: stem, one depthwise block, one candidate for each layer, the head."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    here, channels = "image", 3

    def conv(
        out: int, kernel: int, *, stride: int = 1, dilation: int = 1, depthwise: bool = False,
        **metadata: str,
    ) -> None:  # fmt: skip
        nonlocal here, channels
        name, group = f"conv{len(nodes)}", channels if depthwise else 1
        shape = (out, channels // group, kernel, kernel)
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}.weight"))
        node = helper.make_node(
            "Conv", [here, f"{name}.weight"], [name], name=name, group=group,
            strides=[stride] * 2, dilations=[dilation] * 2,
            pads=[dilation * (kernel // 2)] * 4,
        )  # fmt: skip
        for key, value in metadata.items():
            node.metadata_props.add(key=f"fnac.{key}", value=value)
        nodes.append(node)
        here, channels = name, out

    conv(8, 3, stride=2)
    conv(8, 3, depthwise=True)
    conv(4, 1)
    first = {layer["stage"]: layer["name"] for layer in reversed(manifest["layers"])}
    last_stage = max(first)
    for layer in manifest["layers"]:
        stage, starts = layer["stage"], layer["name"] == first[layer["stage"]]
        conv(4 * stage, 1, layer=layer["name"])
        dilation = 2 if stage == last_stage else 1
        stride = 2 if starts and stage == 2 else 1
        conv(4 * stage, 3, stride=stride, dilation=dilation, depthwise=True, layer=layer["name"])
        conv(2 * stage, 1, layer=layer["name"])
    conv(2, 1, part="head")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])
    output = helper.make_tensor_value_info(here, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [image], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.metadata_props.add(key="fnac", value=json.dumps(manifest))
    path.write_bytes(model.SerializeToString())


def save_search(folder: Path, manifest: dict[str, Any], budget: int, *, steps: int = 60) -> None:
    """A search whose alphas decide for the second candidate, steered onto the budget."""
    folder.mkdir()
    wave = np.random.default_rng(0).normal(size=steps + 1)
    lines = [
        "step,epoch,phase,kind,loss,sampled_madds,expected_madds,budget_madds,lambda,entropy,lr"
    ]
    for step in range(1, steps + 1):
        search = step > steps // 2
        loss = 3 * exp(-step / steps) + 0.1 * wave[step]
        sampled = int(budget * (1 + 0.2 * wave[step] / (1 + search)))
        phase = "search" if search else "warmup"
        lines.append(f"{step},{step // 10},{phase},weights,{loss},{sampled},,,,,0.1")
        if search:
            expected, entropy = int(budget * (1 + 0.3 * exp(-step / 20))), 1.9 - step / steps
            lines.append(
                f"{step},{step // 10},search,alphas,{loss + 0.2},,{expected},{budget},"
                f"{0.01 * step},{entropy},0.01"
            )
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = ["step,layer,candidate,alpha,probability"]
    for step in (steps // 2, steps):
        for layer in manifest["layers"]:
            names = [candidate["name"] for candidate in layer["candidates"]]
            rest = 0.3 / (len(names) - 1)
            for at, name in enumerate(names):
                p = 1 / len(names) if step < steps else 0.7 if at == 1 else rest
                rows.append(f"{step},{layer['name']},{name},{log(p)},{p}")
    (folder / "alphas.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def save_tune(folder: Path, steps: int = 60) -> None:
    folder.mkdir()
    lines = ["step,epoch,loss,lr,head_lr,val_mIoU"]
    for step in range(1, steps + 1):
        rate = 0.01 * (1 - step / (steps + 1)) ** 0.9
        miou = f"{50 - 40 * exp(-step / 20):.2f}" if step % 10 == 0 else ""
        lines.append(f"{step},{step // 10},{2 * exp(-step / 40)},{rate},{5 * rate},{miou}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


LEDGER = [
    {
        "pass": "restore-batchnorm", "arguments": {"eps": 1e-5}, "stage": "expand",
        "keeps": "interface outputs", "verdict": "equal", "max_abs_diff": 1.5e-6,
        "tolerance": 3e-5, "seconds": 0.25, "rewrote": {"conv0": "batch norm after it"},
        "left": {"conv9": "it already has one <&>"}, "initializers": {},
    },
    {
        "pass": "widen-kernel", "arguments": {"kernel": 7, "strategy": "fna"}, "stage": "expand",
        "keeps": "interface", "verdict": "drift", "max_abs_diff": 0.125, "tolerance": 0.0,
        "seconds": 0.5, "rewrote": {"conv1": "3x3 to 7x7", "conv4": "3x3 to 7x7"}, "left": {},
        "initializers": {
            "a": "copied from seed.a", "b": "copied from seed.b", "c": "padded 3x3 to 7x7",
            "d": "fresh (alpha)",
        },
    },
]  # fmt: skip


def make_run(folder: Path, stages: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """Write every part of a run folder; returns the manifest."""
    folder.mkdir()
    manifest = make_manifest(stages)
    save_super(folder / "super.onnx", manifest)
    choices = ["k7e3" if i % 3 == 0 else layer["seed_choice"]
               for i, layer in enumerate(manifest["layers"])]  # fmt: skip
    arch = [{"name": x["name"], "choice": c} for x, c in zip(manifest["layers"], choices)]
    (folder / "arch.json").write_text(json.dumps({"layers": arch}))
    target = read_network(folder / "super.onnx").cost(choices)
    budget = int(target.madds * 1.01)
    save_search(folder / "search", manifest, budget)
    save_tune(folder / "tune")
    (folder / "ledger.json").write_text(json.dumps(LEDGER))
    (folder / "env.json").write_text(json.dumps({"python": "3.11.9", "torch": "2.15.0"}))
    (folder / "config.yaml").write_text(
        f"version: 2\nadapt: {{task: seg, data: 'folder:{HOSTILE}', budget: 0.9x}}\n"
    )
    results = {
        "metric": {"name": "mIoU", "value": 47.25},
        "seed": {"madds": 301_000_000, "params": 2_567_507},
        "target": {"madds": target.madds, "params": target.params},
    }
    (folder / "results.json").write_text(json.dumps(results))
    pictures = folder / "pictures"
    pictures.mkdir()
    (pictures / "prediction_000.png").write_bytes(b"\x89PNG fake")
    return manifest


SMALL = [(2, 2, 1), (3, 3, 2)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    make_run(folder, SMALL)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------ the page


def test_header_has_facts_and_figures(page: str) -> None:
    assert "<dt>budget</dt><dd>0.9x</dd>" in page
    assert "<dt>head</dt><dd>deeplabv3</dd>" in page
    assert "<dt>size</dt><dd>96×128</dd>" in page
    assert "<b>47.25 %</b>" in page
    assert "301M" in page
    assert "2.57M" in page
    assert "MAdds = multiply-adds = MACs = FLOPs/2" in page


def test_every_picture_is_written_and_embedded(run: Path, page: str) -> None:
    names = {file.name for file in (run / "pictures").glob("*.png")}
    assert names == {
        "architecture.png", "stage_madds.png", "search_loss.png", "search_madds.png",
        "search_entropy.png", "search_lambda.png", "alphas.png", "tune_loss.png",
        "tune_validation.png", "tune_lr.png", "prediction_000.png",
    }  # fmt: skip
    for name in names - {"prediction_000.png"}:
        assert (run / "pictures" / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    # all but the architecture (an svg) in light and in dark, the prediction as it is
    assert page.count("data:image/png;base64,") == 2 * 9 + 1


def test_stage_table_adds_up(page: str) -> None:
    # stage 2: seed k3e6 + skip = 18M; target k7e3 + skip = 20M. stage 3: (27+27+0) -> (27+30+0)
    assert "<td>stage 2</td>" in page
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert ["stage 2", "18.0M", "20.0M", "+11.1%"] in cells
    assert ["stage 3", "54.0M", "57.0M", "+5.6%"] in cells
    assert ["fixed (stem, head, ...)", "50.0M", "50.0M", "±0%"] in cells
    assert ["whole network", "122M", "127M", "+4.1%"] in cells


def test_ledger_is_there(page: str) -> None:
    assert "widen-kernel" in page
    assert "kernel=7, strategy=fna" in page
    assert "1.5e-06 (≤ 3e-05)" in page
    assert "drift 0.125" in page
    assert "<summary>2 nodes</summary>" in page
    assert "3x3 to 7x7: <code>conv1, conv4</code>" in page
    assert "it already has one &lt;&amp;&gt;: <code>conv9</code>" in page
    counts = '<td><b>widen-kernel</b></td><td class="number">2</td><td class="number"></td>'
    assert (
        counts + '<td class="number">1</td><td class="number"></td><td class="number">1</td>'
        in page
    )
    assert "padded 3x3 to 7x7" in page


def test_environment_and_configuration(page: str) -> None:
    assert "&quot;torch&quot;: &quot;2.15.0&quot;" in page
    assert "budget: 0.9x" in page


def test_nothing_outside_the_folder_is_referenced(run: Path, page: str) -> None:
    assert "http" not in page
    assert not re.search(r'(?:src|srcset)="(?!data:image/png;base64,)', page)
    for target in re.findall(r'href="([^"]*)"', page):  # a part of the page, a file beside it
        assert target.startswith("#") or (run / target).is_file(), target
    anchors = set(re.findall(r'id="([\w-]+)"', page))
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= anchors
    assert "<link" not in page
    assert "@import" not in page


def test_hostile_names_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert "folder:&lt;script&gt;" in page


def test_a_second_report_is_the_same(run: Path, page: str) -> None:
    assert write_report(run).read_text(encoding="utf-8") == page


def test_a_clean_run_has_no_findings(run: Path, page: str) -> None:
    assert findings_of(read_run_folder(run)) == ()
    assert "Read this first" not in page


# ------------------------------------------------------------------ runs that are not complete


def test_absent_parts_are_said(tmp_path: Path) -> None:
    (tmp_path / "env.json").write_text("{}")
    (tmp_path / "results.json").write_text("{}")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for what in (
        "Super network (super.onnx)", "Search (search/metrics.csv)",
        "Alphas (search/alphas.csv)", "Tuning (tune/metrics.csv)", "Passes (ledger.json)",
        "Predictions (pictures/prediction_*.png)", "Configuration (config.yaml)",
    ):  # fmt: skip
        assert f"{what}: not run yet." in page
    assert "Environment (env.json): not run yet" not in page


def test_a_super_network_without_target(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    save_super(tmp_path / "super.onnx", make_manifest(SMALL))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Target (arch.json): not run yet." in page
    assert '<td>whole network</td><td class="number">122M</td></tr>' in page


def test_broken_files_are_named(tmp_path: Path) -> None:
    save_super(tmp_path / "super.onnx", make_manifest(SMALL))
    (tmp_path / "arch.json").write_text('{"layers": ["k3e6"]}')
    (tmp_path / "ledger.json").write_text('[{"pass": ')
    (tmp_path / "target.onnx").write_bytes(b"\x00\x01")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert (
        "arch.json: does not fit super.onnx (found 1 layers; the super network has 5; give one "
        "choice for each)"
    ) in page
    assert "ledger.json: not readable" in page


def test_a_broken_super_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "super.onnx").write_bytes(b"no network")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "super.onnx: not readable" in page
    assert "Super network (super.onnx): not run yet." in page


def test_a_csv_cut_short_by_a_killed_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", SMALL)
    file = tmp_path / "run" / "search" / "metrics.csv"
    file.write_text(file.read_text() + "61,6,search,wei")
    (tmp_path / "run" / "tune" / "metrics.csv").write_text("")
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Loss during search" in page
    assert "Loss during tuning" not in page


@pytest.mark.parametrize("name", ["absent", "empty", "networks"])
def test_no_run_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "networks").mkdir()
    save_super(tmp_path / "networks" / "super.onnx", make_manifest(SMALL))
    with pytest.raises(UsageError, match=r"wanted a (run )?folder") as caught:
        write_report(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert [path.name for path in tmp_path.glob("*/*")] == ["super.onnx"]


def test_a_file_of_a_run_stands_for_its_folder(tmp_path: Path) -> None:
    make_run(tmp_path / "run", SMALL)
    assert write_report(tmp_path / "run" / "config.yaml") == write_report(tmp_path / "run")


# ------------------------------------------------------------------ findings


OWN = [
    {"kind": "flat-alphas", "text": "the alphas stayed flat (99 %) <&>"},
    {"kind": "held-to-budget", "text": "the floor of 95 % of the budget was binding"},
]


def test_what_the_stages_found_is_shown_as_they_said_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_run(folder, SMALL)
    (folder / "results.json").write_text(json.dumps({"findings": OWN}))
    assert written(findings_of(read_run_folder(folder))) == OWN
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Read this first" in page
    assert "<li>the alphas stayed flat (99 %) &lt;&amp;&gt;</li>" in page


def test_a_run_without_results_shows_what_its_network_says(tmp_path: Path) -> None:
    save_super(tmp_path / "super.onnx", make_manifest(SMALL, findings=OWN))
    (tmp_path / "config.yaml").write_text("{}")
    assert written(findings_of(read_run_folder(tmp_path))) == OWN
    (tmp_path / "results.json").write_text(json.dumps({"findings": []}))
    assert findings_of(read_run_folder(tmp_path)) == ()


def test_the_report_judges_nothing_itself(tmp_path: Path) -> None:
    """Flat alphas, skips everywhere, a budget hardly used: whoever found nothing is believed."""
    folder = tmp_path / "run"
    manifest = make_run(folder, SMALL)
    (folder / "arch.json").write_text('{"layers": ["k3e3", "skip", "k3e3", "skip", "skip"]}')
    rows = ["step,layer,candidate,alpha,probability"]
    for layer in manifest["layers"]:
        n = len(layer["candidates"])
        rows += [f"9,{layer['name']},{c['name']},0,{1 / n}" for c in layer["candidates"]]
    (folder / "search" / "alphas.csv").write_text("\n".join(rows))
    assert findings_of(read_run_folder(folder)) == ()


def test_findings_of_another_form_are_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"findings": ["flat"]}')
    assert "results.json: not readable" in write_report(tmp_path).read_text(encoding="utf-8")


def test_unverified_passes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps([{"pass": "mix", "verdict": "unverified"}]))
    (found,) = findings_of(read_run_folder(tmp_path))
    assert found == Finding("unverified", "not verified (run with --no-verify): mix")


# ------------------------------------------------------------------ the drawing


def test_blocks_become_rectangles(run: Path) -> None:
    network = read_network(run / "super.onnx")
    target = ("k7e3", "skip", "k5e6", "k3e6", "skip")
    drawing = draw_architectures(network, [("Seed", network.seed_choices), ("Target", target)])
    blocks = [box for box in drawing.boxes if box.tooltip.startswith("stage")]
    seed, chosen = blocks[:5], blocks[5:]
    k3, k5, k7 = (KERNEL_FILLS[k] for k in (3, 5, 7))
    assert [box.fill for box in seed] == [k3, None, k3, k3, None]
    assert [box.fill for box in chosen] == [k7, None, k5, k3, None]
    assert [box.dashed for box in chosen] == [False, True, False, False, True]
    assert [box.height for box in chosen] == [40, 40, 64, 64, 40]
    assert [box.x for box in seed] == [box.x for box in chosen]
    assert all(b.x - a.x > BLOCK_WIDTH for a, b in pairwise(seed))
    assert [box.outline > 2 for box in chosen] == [True, False, True, False, False]
    assert chosen[0].tooltip == "stage2.0: k7e3 (was k3e6); 20.0M MAdds, 21 parameters"
    # a dashed box around each stage, in each row, holds its blocks
    frames = [box for box in drawing.boxes if box.dashed and not box.tooltip and box.height > 50]
    assert len(frames) == 4
    assert frames[0].x < seed[0].x
    assert frames[0].x + frames[0].width > seed[1].x + BLOCK_WIDTH
    assert frames[0].x + frames[0].width < frames[1].x
    assert sum(box.fill == HEAD_FILL for box in drawing.boxes) == 2


def test_strides_dilations_and_fixed_blocks_are_read_off_the_nodes(run: Path) -> None:
    network = read_network(run / "super.onnx")
    assert network.fixed == (FixedBlock("conv3x3", 2, 1, 8), FixedBlock("k3e1", 1, 1, 4))
    assert [layer.stride for layer in network.layers] == [2, 1, 1, 1, 1]
    assert [layer.dilation for layer in network.layers] == [1, 1, 2, 2, 2]
    assert [layer.channels for layer in network.layers] == [4, 4, 6, 6, 6]
    drawing = draw_architectures(network, [("Seed", network.seed_choices)])
    texts = [label.text for label in drawing.labels]
    assert texts.count("S=2") == 2  # the stem and the first layer
    assert texts.count("D=2") == 2  # skips have no dilation
    assert texts.count("skip") == 2 + 1  # and the legend
    assert "K3E1" in texts
    assert "deeplabv3" in texts
    assert "stage 3 · 6 ch" in texts


def test_heights_grow_with_the_expansion() -> None:
    heights = [block_height(f"k3e{e}") for e in (1, 2, 3, 4, 6)]
    assert heights == sorted(set(heights))
    assert block_height("k5g2") == block_height("k5e3")


def test_svg_escapes_names(tmp_path: Path) -> None:
    manifest = make_manifest(SMALL, head=HOSTILE)
    manifest["layers"][0]["name"] = HOSTILE
    save_super(tmp_path / "super.onnx", manifest)
    network = read_network(tmp_path / "super.onnx")
    svg = to_svg(draw_architectures(network, [("Seed", network.seed_choices)]))
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


# ------------------------------------------------------------------ plain text


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (24_521_711_616, "24.52G"), (301_000_000, "301M"), (2_567_507, "2.57M"),
        (25_600_000, "25.6M"), (999_600_000, "1.00G"), (999_400_000, "999M"), (15_200, "15.2K"),
        (640, "640"), (0, "0"), (-1_500_000, "-1.50M"), (999_960, "1.00M"),
    ],
)  # fmt: skip
def test_human(count: int, written: str) -> None:
    assert human(count) == written


def test_percent() -> None:
    assert [percent(9, 10), percent(10, 10), percent(1, 0)] == ["-10.0%", "±0%", "–"]


def test_table_aligns_words_left_and_numbers_right() -> None:
    assert table(["node", "MAdds"], [["stem", "1.50M"], ["a.long.name", None], ["b", "20"]]) == (
        "node         MAdds\n"
        "-----------  -----\n"
        "stem         1.50M\n"
        "a.long.name\n"
        "b               20"
    )


def test_profile_text_has_totals_and_the_most_expensive_rows() -> None:
    nodes = [
        {"name": "a", "op": "Conv", "madds": 100, "params": 10, "output_shape": [1, 8, 4, 4]},
        {"name": "b", "op": "Conv", "madds": 300, "params": 20, "output_shape": [1, 8, 4, 4]},
    ]
    shown = profile_text({"params": 30, "madds": 400, "nodes": nodes}, top=1)
    assert shown.splitlines() == [
        "name  op    output shape  MAdds  share  params",
        "----  ----  ------------  -----  -----  ------",
        "b     Conv  1x8x4x4         300  75.0%      20",
        "",
        "1 cheaper rows are not shown",
        "MAdds   400 (400; MAdds = multiply-adds = MACs = FLOPs/2)",
        "params  30",
    ]


def test_layers_text_marks_the_seed() -> None:
    first = layers_text(read_layers(make_manifest(SMALL))).splitlines()[2]
    assert first.startswith("    2  stage2.0  k3e3 12.0M  k3e6* 18.0M  k5e3 16.0M")


def test_the_report_loads_no_torch(run: Path) -> None:
    code = (
        "import sys, pathlib; from fnac.report import write_report; import fnac.text;"
        "heavy = {'torch', 'onnx', 'matplotlib', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        f"write_report(pathlib.Path({str(run)!r}));"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
