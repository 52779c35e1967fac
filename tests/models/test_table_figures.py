"""The seed rows of FNA++ Tables II, IV, VI, VIII, X to the integer, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fnac.cli import cli

ROWS = {  # seed, task, head, classes, size: parameters, MAdds as the paper counts, exact MAdds
    ("mobilenetv2", "seg", "deeplabv3", 19, "1024x2048"): (2567507, 24521711616, 24521555968),
    ("mobilenetv2", "det", "retinanet", 80, "800x1088"): (11488244, 133053449976, 132993390336),
    ("mobilenetv2", "det", "ssdlite", 80, "320x320"): (4322988, 808218304, 808218304),
    ("mobilenetv2", "pose", "simplebaseline", 16, "256x256"): (5225232, 6086057984, 1807802368),
    ("resnet18", "det", "retinanet", 80, "800x1088"): (21410100, 160279078904, 160219019264),
    ("resnet50", "det", "retinanet", 80, "800x1088"): (37968692, 202840385528, 202780325888),
    ("fbnetc", "det", "retinanet", 80, "800x1088"): (12645876, 134174961464, 134114901824),
    ("proxyless", "det", "retinanet", 80, "800x1088"): (12065932, 133422227576, 133362167936),
}


def command(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row[:3])))
def test_the_figures_of_the_tables(row: tuple[str, str, str, int, str], tmp_path: Path) -> None:
    seed, task, head, classes, size = row
    file = str(tmp_path / "m.onnx")
    command(
        *("export", seed, "--weights", "none", "-o", file, "--size", size),
        *("--task", task, "--head", head, "--classes", str(classes)),
    )
    found = [
        json.loads(command("profile", file, "--convention", convention, "--json"))
        for convention in ("paper", "exact")
    ]
    params, paper, exact = ROWS[row]
    assert [f["params"] for f in found] == [params, params]
    assert [f["madds"] for f in found] == [paper, exact]


def test_the_figures_are_those_of_the_tables_file(shared_data: Path) -> None:
    rows = json.loads((shared_data.parent / "paper" / "tables.json").read_text())["rows"]
    written = [(r["input_hxw"], r["params"], r["madds_paper"], r["madds_exact"]) for r in rows]
    assert written == [(row[4], *figures) for row, figures in ROWS.items()]


def test_deeplabv3plus_has_the_papers_parameters() -> None:
    """Table II prints 5.71M for v3+ on the backbone that FNA found for Cityscapes."""
    from fnac.models.heads.export import build_head
    from fnac.models.seeds.mbconv import MBConvTable, Stage

    found = MBConvTable(
        "fna-seg",
        32,
        (
            Stage("k3e1", 16),
            Stage("k3e6 k3e6 skip skip", 24, 2),
            Stage("k7e6 k3e6 k3e6 k3e6", 32, 2),
            Stage("k7e6 k7e6 k5e6 k7e6 k7e6 k5e6", 64, 2),
            Stage("k7e6 k7e6 k7e6 k7e6 skip skip", 96),
            Stage("k7e6 k5e6 skip skip", 160, 2),
            Stage("k7e3", 320),
        ),
    )
    head = build_head("deeplabv3plus", {"features": 320, "c2": 24}, 19)
    parts = [found.network(0), head]
    assert sum(p.numel() for part in parts for p in part.parameters()) == 5_714_451
