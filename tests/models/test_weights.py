"""Weights from files: both layouts, half precision, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fnac.models.errors import ModelError, WeightsError
from fnac.models.seeds.find import find_seed
from fnac.models.seeds.mbconv import MBConvNet
from fnac.models.seeds.published import PROXYLESS_FILE, published_weights
from fnac.models.seeds.seed_names import FAMILIES, parse_seed_name
from fnac.models.seeds.tables import MOBILENETV2, RESNET18, TABLES
from fnac.models.seeds.weights import load_weights, read_weights

TABLE = MOBILENETV2.scaled(0.35, 64)


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MOBILENETV2.scaled(0.35, 64).network(10).state_dict()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_a_pth_file_is_read(tmp_path: Path, wrap) -> None:
    given = {f"module.{k}": v for k, v in state().items()}
    torch.save(wrap(given), tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert read.keys() == state().keys()
    assert all(torch.equal(read[k], v) for k, v in state().items())


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    halves = {k: v.half() for k, v in state().items() if v.is_floating_point()}
    save_file(halves, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert {v.dtype for v in read.values()} == {torch.float32}
    model = MOBILENETV2.scaled(0.35, 64).network(10)
    assert load_weights(model, read, "w") == []  # no counters in the file: they are not missed
    assert torch.equal(model.state_dict()["features.3.conv.1.0.weight"],
                       halves["features.3.conv.1.0.weight"].float())  # fmt: skip


def test_missing_and_unexpected_weights_are_named() -> None:
    broken = state()
    del broken["features.3.conv.1.0.weight"]
    broken["features.3.se.weight"] = torch.zeros(1)
    with pytest.raises(
        WeightsError,
        match=r"^w: does not fit the network: features\.3\.conv\.1\.0\.weight missing, "
        r"features\.3\.se\.weight unexpected; wanted torchvision's, timm's or ProxylessNAS's la",
    ):
        load_weights(MOBILENETV2.scaled(0.35, 64).network(10), broken, "w")


def test_another_width_is_named() -> None:
    with pytest.raises(WeightsError, match=r"shape \(16, 3, 3, 3\); the network wants \(32, 3,"):
        load_weights(MOBILENETV2.scaled(1.0, 64).network(10), state(), "w")


def test_another_number_of_classes_means_a_fresh_classifier(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = MOBILENETV2.scaled(0.35, 64).network(7)
    start = model.classifier[1].weight.clone()
    fresh = load_weights(model, state(), "w.pth")
    assert fresh == ["classifier.1.bias", "classifier.1.weight"]
    assert torch.equal(model.classifier[1].weight, start)
    assert caplog.messages == [
        "w.pth: the classifier does not fit or is not there; a fresh one is used"
    ]
    bare = {k: v for k, v in state().items() if not k.startswith("classifier")}
    assert load_weights(MOBILENETV2.scaled(0.35, 64).network(10), bare, "w.pth") == fresh


def test_a_backbone_takes_what_it_needs() -> None:
    trunk = MBConvNet(TABLE, 0, 16)
    given = state()
    assert load_weights(trunk, given, "w") == []
    assert all(torch.equal(v, given[k]) for k, v in trunk.state_dict().items())
    bare = {k: v for k, v in given.items() if k in trunk.state_dict()}
    assert load_weights(MBConvNet(TABLE, 0, 16), bare, "w") == []


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of use, but more than eight bytes")
        with pytest.raises(WeightsError, match=f"{name}: (torch cannot read|not a readable)"):
            read_weights(tmp_path / name)
    for content in (b"", b"junk", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(40)):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=r"w\.pth: torch cannot read"):
            read_weights(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"no\.pth: there is no such file; give"):
        read_weights(tmp_path / "no.pth")
    torch.save({"a": 1}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no table of named tensors"):
        read_weights(tmp_path / "w.pth")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **named: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models.MobileNet_V2_Weights.get_state_dict", offline)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    reason = r"\(<urlopen error Name or service not known>\)"
    with pytest.raises(
        WeightsError,
        match=rf"^mobilenetv2: torchvision's ImageNet weights could not be downloaded {reason}; "
        r"give a local copy with --weights FILE, or --weights none for a random start$",
    ):
        published_weights("mobilenetv2")
    with pytest.raises(
        WeightsError,
        match=rf"^fbnetc: timm \(fbnetc_100\)'s ImageNet weights could not be downloaded {reason}; "
        r"give a local copy of https://github.com/\S+/fbnetc_100-c345b898.pth with --weights FILE",
    ):
        published_weights("fbnetc")
    with pytest.raises(WeightsError, match=r"^mobilenetv2_w0.5: no ImageNet weights are published"):
        published_weights("mobilenetv2_w0.5")
    with pytest.raises(
        WeightsError, match=r"^proxyless: its weights are not downloaded; give prox"
    ):
        published_weights("proxyless")
    assert "mit-han-lab" in PROXYLESS_FILE


def test_names_of_seeds_are_those_of_the_tables() -> None:
    assert set(FAMILIES) == set(TABLES)
    assert parse_seed_name("mobilenetv2_w0.5") == ("mobilenetv2", 0.5)
    assert parse_seed_name("bundled") == ("bundled", None)
    assert parse_seed_name("bundled_w1") is None
    assert parse_seed_name("vgg") is None


def test_seeds_by_name() -> None:
    assert find_seed("mobilenetv2").table == MOBILENETV2
    assert find_seed("mobilenetv2", 0.5) == find_seed("mobilenetv2_w0.5")
    assert find_seed("mobilenetv2_w0.35").table.channels == 112
    assert find_seed("bundled").weights == "bundled"
    assert find_seed("resnet18_w0.5").table.widths == (32, 64, 128, 256)
    assert RESNET18.scaled(0.25).channels == 128
    for name, width, message in [
        (
            "vgg",
            None,
            "seed 'vgg': no such seed; there are: mobilenetv2, resnet18, resnet50",
        ),
        ("mobilenetv2_w0.5", 0.75, "its name says width 0.5, --width says 0.75"),
        ("bundled", 1.0, "bundled: its width is 0.35, 1 was asked for"),
        ("mobilenetv2", -1.0, "width -1; wanted a number above 0"),
    ]:
        with pytest.raises(ModelError, match=message):
            find_seed(name, width)
