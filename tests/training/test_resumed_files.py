"""What a resumed training takes from its folder is as it was left, or it is named."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fnac.errors import TrainingError
from fnac.training.checkpoints import (
    BEGUN_WITH,
    TAUGHT_BY,
    fingerprint,
    load_checkpoint,
    of_this_run,
    save_checkpoint,
)
from fnac.training.digests import network_digest
from fnac.training.run_log import CsvLog
from tests.support.graphs import graph

SETTINGS = {"lr": 0.1, "steps": 4}
FABRIC: Any = SimpleNamespace(
    is_global_zero=True,
    barrier=lambda: None,
    strategy=SimpleNamespace(precision=SimpleNamespace(state_dict=dict)),
)


def written(path: Path, **more: Any) -> dict[str, Any]:
    state = {"settings": fingerprint(SETTINGS), "step": 2, "network": torch.arange(4000.0), **more}
    save_checkpoint(FABRIC, path, state)
    return state


def test_no_changed_byte_of_a_checkpoint_is_trained_on(tmp_path: Path) -> None:
    """Each is refused, or (padding, dates) changes nothing that is read."""
    path, chance, refused = tmp_path / "last.ckpt", random.Random(0), 0
    written(path)
    whole = path.read_bytes()
    known = load_checkpoint(path, SETTINGS)
    for _ in range(150):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(changed))
        try:
            state = load_checkpoint(path, SETTINGS)
        except TrainingError:
            refused += 1
        else:
            assert state["step"] == known["step"]
            assert torch.equal(state["network"], known["network"])
    assert refused > 100  # most bytes are the tensor's


@pytest.mark.parametrize(
    "content",
    [
        {"network": {}},
        {"settings": "{", "step": 1, "network": {}},
        {"settings": "3", "step": 1, "network": {}},
        {"settings": 3, "step": 1, "network": {}},
        {"settings": fingerprint(SETTINGS), "step": 1},
        {"settings": fingerprint(SETTINGS), "step": 1, "network": {}, "optimizer": {}},
        [1, 2],
    ],
)
def test_a_checkpoint_of_another_shape_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    with pytest.raises(TrainingError, match=r"last.ckpt: not a .*begin this stage again"):
        load_checkpoint(path, SETTINGS, {"settings", "step", "network"})


def test_what_another_network_ends_in_is_named(tmp_path: Path) -> None:
    path, other = tmp_path / "last.ckpt", torch.nn.Linear(2, 3).state_dict()
    of_another = r"last.ckpt: the checkpoint is of another network"
    with pytest.raises(TrainingError, match=of_another), of_this_run(path):
        torch.nn.Linear(2, 4).load_state_dict(other)
    with pytest.raises(TrainingError, match="another network"), of_this_run(path):
        torch.optim.SGD(torch.nn.Linear(2, 2).parameters()).load_state_dict(
            {"state": {}, "param_groups": []}
        )


def test_the_networks_that_a_run_began_with_are_told_apart(tmp_path: Path) -> None:
    text = "(float[1,2] x) => (float[1,2] y) <float[2,2] w = {1,2,3,4}> { y = MatMul(x, w) }"
    one, same = graph(text), graph(text)
    other, nodes = graph(text.replace("4}", "5}")), graph(text.replace("MatMul", "Gemm<alpha=2.0>"))
    told = graph(text)
    told.manifest["preprocessing"] = {"mean": [0, 0, 0]}
    assert network_digest(one) == network_digest(same)
    assert len({network_digest(each) for each in (one, other, nodes, told)}) == 4
    began = {**SETTINGS, BEGUN_WITH: network_digest(one)}
    torch.save({"settings": fingerprint(began)}, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="this run began with another network"):
        load_checkpoint(tmp_path / "last.ckpt", {**SETTINGS, BEGUN_WITH: network_digest(other)})
    taught = {**began, TAUGHT_BY: network_digest(other)}
    with pytest.raises(TrainingError, match="this run began with another teacher"):
        load_checkpoint(tmp_path / "last.ckpt", taught)


# ------------------------------------------------------------------ logs


def logged(path: Path, count: int, keep: Any = None) -> Any:
    log = CsvLog(path, ("step", "loss"), keep)
    for step in range(count):
        log.row(step=step, loss=0.5)
    return log.flush()


def test_a_log_is_continued_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    kept = json.loads(json.dumps(logged(path, 3)))
    with path.open("a") as file:
        file.write("3,0.5\n4,0.")  # after the checkpoint, cut by the kill
    again = logged(path, 2, kept)
    assert path.read_text().splitlines() == ["step,loss", *(f"{s},0.5" for s in (0, 1, 2, 0, 1))]
    assert again["bytes"] == path.stat().st_size
    assert logged(path, 0, again) == again


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "0 of them are there"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), r"25 of them are there"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6")), "others are"),
    ],
)
def test_a_log_that_was_lost_or_changed_is_named(tmp_path: Path, spoil: Any, words: str) -> None:
    path = tmp_path / "metrics.csv"
    kept = logged(path, 3)
    assert kept["bytes"] == 28
    spoil(path)
    with pytest.raises(TrainingError, match=rf"metrics.csv: this run had written 28 .*{words}"):
        CsvLog(path, ("step", "loss"), kept)
