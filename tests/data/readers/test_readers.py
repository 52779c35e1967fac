"""Readers, SPECs, and the check that names the first broken file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fnac.data import Dataset, DataSource, open_data
from fnac.data.readers.cityscapes import LABEL_IDS
from fnac.data.sets.labels import LabelTable, plain_labels
from fnac.data.sets.masks import read_mask
from fnac.errors import DataError, UsageError


def write_picture(path: Path, height: int = 24, width: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3))
    Image.fromarray(values.astype(np.uint8)).save(path)


def write_mask(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images with masks of three classes, without split folders."""
    for i in range(10):
        write_picture(tmp_path / "images" / f"p{i}.jpg")
        write_mask(tmp_path / "masks" / f"p{i}.png", np.full((24, 32), i % 3))
    (tmp_path / "classes.txt").write_text("sky\n# comment\nroad\ntree\n")
    return tmp_path


def check_message(spec: str) -> str:
    with pytest.raises(DataError) as caught:
        open_data(spec).check()
    return str(caught.value)


def test_folder_samples_and_classes(folder: Path) -> None:
    source = open_data(f"folder:{folder}")
    source.check()
    assert source.classes == ["sky", "road", "tree"]
    assert source.splits == ("train", "val")
    assert (len(source.split("train")), len(source.split("val"))) == (8, 2)
    image, mask = source.split("val")[0]
    assert (image.dtype, image.shape) == (torch.uint8, (3, 24, 32))
    assert (mask.dtype, mask.shape) == (torch.uint8, (24, 32))
    number = int(source.split("val").id(0).removeprefix("p"))
    assert torch.equal(mask, torch.full((24, 32), number % 3, dtype=torch.uint8))


def test_fraction_split_is_stated_and_does_not_move(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        names = [open_data(f"folder:{folder}").split("val").id(i) for i in range(2)]
    assert f"{folder}: no train/ and val/ folders; 2 of 10 images (20 %" in caplog.text
    write_picture(folder / "images" / "another.jpg")
    source = open_data(f"folder:{folder}")
    now = {split: {d.id(i) for i in range(len(d))} for split, d in _splits(source)}
    assert len(now["train"] | now["val"]) == 11
    assert not now["train"] & now["val"]
    assert len(set(names) - now["val"]) <= 1


def _splits(source: DataSource) -> list[tuple[str, Dataset]]:
    return [(name, source.split(name)) for name in source.splits]


def test_folder_with_split_folders(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for i in range(count):
            write_picture(tmp_path / "images" / split / f"{split}{i}.png")
            write_mask(tmp_path / "masks" / split / f"{split}{i}.png", np.zeros((24, 32)))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    source = open_data(f"folder:{tmp_path}")
    source.check()
    assert [len(source.split(s)) for s in ("train", "val")] == [3, 1]
    with pytest.raises(DataError, match=r"\(folder\): found train, val; wanted images for 'test'"):
        source.split("test")
    with pytest.raises(DataError, match=r"wanted images for 'vall'; did you mean 'val'\?"):
        source.split("vall")


def test_missing_val_split_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "train" / "a.png")
    write_mask(tmp_path / "masks" / "train" / "a.png", np.zeros((24, 32)))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="found train; wanted images for 'val'"):
        open_data(f"folder:{tmp_path}").split("val")


def test_missing_mask(folder: Path) -> None:
    (folder / "masks" / "p3.png").unlink()
    (folder / "masks" / "p8.png").unlink()
    message = check_message(f"folder:{folder}")
    assert message in {
        f"{folder}/masks/p{i}.png: no such file; wanted the mask of p{i}.jpg; "
        f"add it, or remove the image{more}"
        for i in (3, 8)
        for more in ("", " (1 more are wrong)")  # one may be kept for validation
    }


def test_masks_without_a_picture_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = sorted((folder / "images").iterdir())[0]
    picture.unlink()
    open_data(f"folder:{folder}")
    assert f"{picture.stem}.png and 0 more: no image of this mask" in caplog.text


def test_corrupt_image(folder: Path) -> None:
    path = folder / "images" / "p5.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    message = check_message(f"folder:{folder}")
    assert message.startswith(f"{path}: cannot be decoded (image file is truncated")
    assert message.endswith("; wanted a whole image; copy it again")
    path.write_bytes(b"")
    assert check_message(f"folder:{folder}") == (
        f"{path}: empty file; wanted an image; copy it again"
    )
    path.write_text("hello, I am no image")
    assert check_message(f"folder:{folder}") == (
        f"{path}: cannot be decoded (not an image of a known format); wanted a whole image; "
        "copy it again"
    )


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_one_flipped_byte_in_a_png(folder: Path, kind: str) -> None:
    (folder / "images" / "p5.jpg").unlink()
    write_picture(folder / "images" / "p5.png")
    path = folder / kind / "p5.png"
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 8
    content[at] ^= 0x55
    path.write_bytes(content)
    assert check_message(f"folder:{folder}").startswith(f"{path}: cannot be decoded (")


def test_label_ids_out_of_range(folder: Path) -> None:
    ids = np.full((24, 32), 2)
    ids[3, 4] = 7
    write_mask(folder / "masks" / "p4.png", ids)
    assert check_message(f"folder:{folder}") == (
        f"{folder}/masks/p4.png: label id 7; wanted 0..2 or 255 (ignore); "
        "correct the mask, or the list of classes"
    )


def test_sizes_differ_and_colour_masks(folder: Path) -> None:
    write_mask(folder / "masks" / "p6.png", np.zeros((24, 31)))
    assert check_message(f"folder:{folder}") == (
        f"{folder}/masks/p6.png: 31x24 pixels; wanted 32x24 as p6.jpg; "
        "export the mask at the image's size"
    )
    write_picture(folder / "masks" / "p6.png")
    red, green, blue = np.array(Image.open(folder / "masks" / "p6.png"))[0, 0]
    assert check_message(f"folder:{folder}") == (
        f"{folder}/masks/p6.png: colour mask (mode RGB), {red} {green} {blue} at 0, 0; wanted one "
        "channel of label ids, or the colours' classes in colours.txt ('R G B NAME' per line)"
    )


def test_classes_missing_and_folder_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; wanted a folder with images/, masks/"):
        open_data(f"folder:{tmp_path}/nowhere")
    write_picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"classes.txt: no such file; wanted the class names"):
        open_data(f"folder:{tmp_path}")


def test_yaml(folder: Path) -> None:
    spec = folder / "data.yaml"
    spec.write_text("reader: folder\npath: .\nclasses: [a, b]\nignore: [2]\nval_fraction: 0.5\n")
    source = open_data(str(spec))
    source.check()
    assert source.classes == ["a", "b"]
    assert len(source.split("val")) == 5
    present = {int(v) for s in source.splits for _, m in source.split(s) for v in m.unique()}
    assert present == {0, 1, 255}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("reader: folder\npath: .\nclases: [a]\n", "unknown key clases; folder knows classes,"),
        ("reader: vox\n", "reader 'vox'; wanted 'reader:' of cityscapes, camvid, ade20k, voc,"),
        ("- 1\n", "reader 'list'; wanted 'reader:'"),
        ("reader: folder\n", "no path; wanted 'path:' of the folder folder"),
        ("a: [", "not YAML"),
        ("reader: folder\npath: .\nclasses: 5\n", "classes 5; wanted a list of 2 to 255 names"),
        ("reader: scenes\ntrain: many\n", "train 'many'; wanted a whole number, at least 1"),
    ],
)
def test_yaml_refusals(tmp_path: Path, content: str, message: str) -> None:
    spec = tmp_path / "data.yaml"
    spec.write_text(content)
    with pytest.raises(UsageError) as caught:
        open_data(str(spec))
    assert str(caught.value).startswith(f"{spec}: {message}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "cityscape:/x",
            "--data cityscape:/x: unknown reader 'cityscape'; did you mean 'cityscapes'?; wanted",
        ),
        ("camvid", "--data camvid: no path; wanted camvid:PATH"),
        ("scenes:512", "--data scenes:512: '512'; wanted e.g. scenes:train=512,val=128"),
        ("scenes:size=9", "--data scenes:size=9: size '9'; wanted a whole number, at least 32"),
    ],
)
def test_spec_refusals(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_data(spec)
    assert str(caught.value).startswith(message)


def test_label_table_words_and_wide_masks() -> None:
    table = LabelTable({0: 0, 1: 1, 2: 2, 7: 255, 255: 255})
    assert table.allowed == "0..2 or 7, 255 (ignore)"
    assert table.wrong(np.array([[0, 300]], dtype=np.int32)) == (
        "label id 300; wanted 0..2 or 7, 255 (ignore); correct the mask, or the list of classes"
    )
    assert table.wrong(np.array([[2, 7, 255]], dtype=np.uint8)) is None
    assert plain_labels(2).apply(np.array([0, 1, 255], dtype=np.uint16)).tolist() == [0, 1, 255]


def test_cityscapes_stock_layout(tmp_path: Path) -> None:
    for split, city in (("train", "aachen"), ("val", "ulm")):
        write_picture(tmp_path / f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png")
        ids = np.arange(24 * 32).reshape(24, 32) % 34
        write_mask(tmp_path / f"gtFine/{split}/{city}/{city}_0_gtFine_labelIds.png", ids)
    source = open_data(f"cityscapes:{tmp_path}")
    source.check()
    assert len(source.classes) == 19
    _, mask = source.split("train")[0]
    assert mask.flatten()[[7, 8, 11, 33, 0, 29]].tolist() == [0, 1, 2, 18, 255, 255]
    (tmp_path / "gtFine/val/ulm/ulm_0_gtFine_labelIds.png").unlink()
    assert check_message(f"cityscapes:{tmp_path}").startswith(
        f"{tmp_path}/gtFine/val/ulm/ulm_0_gtFine_labelIds.png: no such file; wanted the mask of"
    )


def test_cityscapes_mask_without_its_picture_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a_0", "a_1"):
        write_picture(tmp_path / f"leftImg8bit/val/a/{name}_leftImg8bit.png")
        for kind in ("labelIds", "labelTrainIds"):
            write_mask(tmp_path / f"gtFine/val/a/{name}_gtFine_{kind}.png", np.zeros((24, 32)))
    open_data(f"cityscapes:{tmp_path}")
    assert not caplog.text
    (tmp_path / "leftImg8bit/val/a/a_1_leftImg8bit.png").unlink()
    open_data(f"cityscapes:{tmp_path}")
    assert "a_1_gtFine_labelIds.png and 0 more: no image of this mask" in caplog.text


def test_cityscapes_genuine(shared_data: Path) -> None:
    root = shared_data / "fixtures" / "cityscapes"
    source = open_data(f"cityscapes:{root}")
    source.check()
    assert source.splits == ("val",)
    dataset = source.split("val")
    image, mask = dataset[0]
    assert dataset.id(0) == "frankfurt_000000_000294_leftImg8bit"
    assert image.shape == (3, 128, 256)
    train_ids = dataset.pairs[0].mask  # type: ignore[attr-defined]
    assert train_ids.name.endswith("labelTrainIds.png")
    label_ids = read_mask(train_ids.with_name(train_ids.name.replace("labelTrainIds", "labelIds")))
    mapped = LABEL_IDS.apply(label_ids)
    # The fixture's two files were reduced one by one and differ in 77 pixels at edges.
    assert (mapped != mask.numpy()).sum() == 77
    for found in np.unique(label_ids):
        counts = np.bincount(mask.numpy()[label_ids == found], minlength=256)
        assert counts.argmax() == LABEL_IDS.mapping[int(found)]
    with pytest.raises(DataError, match=r"\(cityscapes\): found val; wanted images for 'train'"):
        source.split("train")


def test_camvid_genuine(shared_data: Path) -> None:
    source = open_data(f"camvid:{shared_data / 'camvid'}")
    source.check(["val"])
    assert (len(source.split("train")), len(source.split("val"))) == (367, 101)
    assert source.split("train").id(0) == "0001TP_006690"
    _, mask = source.split("train")[0]
    assert mask.shape == (360, 480)
    assert set(mask.unique().tolist()) <= {*range(11), 255}


def test_camvid_segnet_layout(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "x.png")
    write_mask(tmp_path / "trainannot" / "x.png", np.full((24, 32), 11))
    source = open_data(f"camvid:{tmp_path}")
    source.check()
    assert int(source.split("train")[0][1].min()) == 255
    write_mask(tmp_path / "trainannot" / "x.png", np.full((24, 32), 12))
    assert check_message(f"camvid:{tmp_path}") == (
        f"{tmp_path}/trainannot/x.png: label id 12; wanted 0..10 or 11, 255 (ignore); "
        "correct the mask, or the list of classes"
    )


def test_ade20k_mask_without_its_picture_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "images" / "validation" / "x.jpg")
    for name in ("x", "y"):
        write_mask(tmp_path / "annotations" / "validation" / f"{name}.png", np.zeros((24, 32)))
    lines = "".join(f"{i}\t0.1\t1\t1\tclass{i}\n" for i in range(1, 151))
    (tmp_path / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{lines}")
    open_data(f"ade20k:{tmp_path}")
    assert "y.png and 0 more: no image of this mask" in caplog.text


def test_camvid_missing_picture_is_named_as_the_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "images" / "val" / "x.png")
    for name in ("x", "y"):
        write_mask(tmp_path / "labels" / "val" / f"{name}.png", np.zeros((24, 32)))
    open_data(f"camvid:{tmp_path}")
    assert "y.png and 0 more: no image of this mask" in caplog.text
    (tmp_path / "val.txt").write_text("x\ny\n")
    assert check_message(f"camvid:{tmp_path}").startswith(
        f"{tmp_path}/images/val/y.png: no such file"
    )


def test_scenes_without_the_split() -> None:
    with pytest.raises(DataError) as caught:
        open_data("scenes:").split("nope")
    assert str(caught.value) == (
        "scenes: there is no split 'nope'; wanted one of those there are: train, val"
    )
    with pytest.raises(DataError, match=r"train, val; ask for it with --data scenes:test=128"):
        open_data("scenes:").split("test")
