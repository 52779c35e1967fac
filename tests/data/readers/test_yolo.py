"""YOLO's label folders: layouts, names, lines right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fnac.data.readers.yolo import read_yolo
from fnac.data.spec import open_data
from fnac.errors import DataError

LINES = "1 0.5 0.5 0.2 0.4\n"


def write(root: Path, place: str, text: str | None = LINES) -> None:
    """An image of 20x10 at images/PLACE, and its labels."""
    path = root / "images" / f"{place}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10)).save(path)
    if text is not None:
        labels = root / "labels" / f"{place}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "train: ../train\nnc: 2\nnames: ['cat', 'dog']\n"),
        ("data.yaml", "names:\n  0: cat\n  1: dog\n"),
        ("obj.names", "cat\ndog\n"),
        ("classes.txt", "cat\r\ndog\r\n"),
    ],
)
def test_names_and_boxes(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, "train/deep/a")
    write(tmp_path, "valid/b", None)
    (tmp_path / name).write_text(text)
    source = open_data(f"yolo:{tmp_path}", "det")
    source.check()
    assert source.classes == ["cat", "dog"]
    assert source.splits == ("train", "val")
    assert source.split("train")[0][1].tolist() == [[8, 3, 12, 7, 1]]
    assert len(source.split("val")[0][1]) == 0, "an image without labels has no object"


def test_folders_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split, "a")
    source = read_yolo(tmp_path, classes=["cat", "dog"])
    assert {s: len(source.split(s)[0][1]) for s in source.splits} == {"train": 1, "val": 1}


def test_without_splits_a_share_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10):
        write(tmp_path, str(number))
    with caplog.at_level("INFO"):
        source = read_yolo(tmp_path, classes=["cat", "dog"], val_fraction=0.3)
    assert {s: len(source.split(s)) for s in source.splits} == {"train": 7, "val": 3}
    assert "3 of 10 images (30 %, chosen by file name)" in caplog.text


def test_polygons_scores_commas_and_repeated_lines(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "0 .1 .2 .5 .2 .5 .6 .1 .4\n1,0.5,0.5,0.2,0.4,0.9\n" + 2 * LINES)
    boxes = read_yolo(tmp_path, classes=["cat", "dog"]).split("train")[0][1]
    assert boxes.tolist() == [[2, 2, 10, 6, 0], [8, 3, 12, 7, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 .5 .5 .2 .2", "class 2; wanted 0..1, the ids of cat, dog"),
        ("cat .5 .5 .2 .2", "class cat; wanted 0..1"),
        ("0 10 5 4 4", "box 10 5 4 4; wanted centre and sides in parts of the image, 0..1"),
        ("0 .5 .5 .2", "'0 .5 .5 .2'; wanted CLASS x y width height, or a polygon"),
        ("0 .5 .5 nan .2", "'0 .5 .5 nan .2'; wanted"),
        ("0 .5 .5 0 .2", "has no area"),
        ("0 0,5 0,5 0,2 0,2", "'0 0,5 0,5 0,2 0,2'; wanted decimal points"),
    ],
)
def test_wrong_lines_are_named_or_left_out(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, "train/a", f"{LINES}\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_yolo(tmp_path, classes=["cat", "dog"]).split("train")
    assert str(caught.value).startswith(f"{tmp_path}/labels/train/a.txt: line 3: ")
    assert message in str(caught.value)
    kept = read_yolo(tmp_path, classes=["cat", "dog"], skip_bad=True).split("train")
    assert kept[0][1].tolist() == [[8, 3, 12, 7, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, a]", "no 'names'"),
        ("names: {1: a}", r"names of ids \[1\]; wanted 0, 1, 2"),
        ("nc: 2", "no 'names'"),
        ("names: [a", "not YAML"),
        (None, "neither data.yaml nor classes.txt nor obj.names"),
    ],
)
def test_wrong_names(tmp_path: Path, text: str | None, message: str) -> None:
    write(tmp_path, "train/a")
    if text is not None:
        (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_yolo(tmp_path)


def test_labels_are_found_in_every_spelling_and_what_is_left_over_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """macOS writes accents as two characters, Windows suffixes in capitals."""
    write(tmp_path, "train/B\u00e4r", None)
    write(tmp_path, "train/b", None)
    (tmp_path / "labels/train").mkdir(parents=True)
    for name in ("Ba\u0308r.txt", "b.TXT", "ghost.txt", "classes.txt"):
        (tmp_path / "labels/train" / name).write_text(LINES)
    split = read_yolo(tmp_path, classes=["cat", "dog"]).split("train")
    assert [len(split[i][1]) for i in range(2)] == [1, 1]
    assert "ghost.txt and 0 more: no image of these labels" in caplog.text


def test_keypoints_behind_a_box_are_no_polygon(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "0 .5 .5 .2 .4 .1 .9 .8 .7\n0 .5 .5 .2 .2\n")
    (tmp_path / "data.yaml").write_text("names: [hand]\nkpt_shape: [2, 2]\n")
    boxes = read_yolo(tmp_path).split("train")[0][1]
    assert boxes.tolist() == [[8, 3, 12, 7, 0], [8, 4, 12, 6, 0]]
    (tmp_path / "data.yaml").write_text("names: [hand]\nkpt_shape: 2\n")
    with pytest.raises(DataError, match="kpt_shape 2; wanted"):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    ("text", "train"),
    [
        ("train: images/small\nval: images/held\n", ["a"]),
        ("path: elsewhere\ntrain: ../images/small\nval: [images/held]\n", ["a"]),
        ("train: [images/small, images/train]\nval: images/held\n", ["a", "b", "c"]),
        ("train: small.txt\nval: images/held\n", ["b"]),
        ("train: images/gone\nval: images/held\n", ["b", "c"]),
    ],
)
def test_the_splits_that_the_data_file_names(
    tmp_path: Path, text: str, train: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A folder images/train beside those that are named is not what the user meant."""
    for place in ("small/a", "train/b", "train/c", "held/d", "val/e"):
        write(tmp_path, place)
    (tmp_path / "small.txt").write_text("./images/train/b.jpg\n\n")
    (tmp_path / "data.yaml").write_text(f"{text}names: [cat, dog]\n")
    source = read_yolo(tmp_path)
    split = source.split("train")
    assert [split.id(i) for i in range(len(split))] == train
    assert all(len(split[i][1]) == 1 for i in range(len(split)))
    assert source.split("val").id(0) == ("e" if "gone" in text else "d")
    assert ("train: images/gone is not there" in caplog.text) is ("gone" in text)


def test_keypoints_without_a_shape_are_no_polygons(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.2 0.2 0.45 0.45 1 0.55 0.55 2\n"
    write(tmp_path, "train/a", line)
    source = read_yolo(tmp_path, classes=["cat", "dog"])
    with pytest.raises(DataError, match=r"all 1 lines hold a box and 6 numbers of .*2, 3"):
        source.check()
    write(tmp_path, "train/a", "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6 0.1 0.5\n")
    (box,) = read_yolo(tmp_path, classes=["cat", "dog"]).split("train")[0][1].tolist()
    assert box == pytest.approx([2, 1, 10, 6, 0])


def test_an_angle_is_no_score(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "0 0.5 0.5 0.2 0.2 1.2\n")
    with pytest.raises(DataError, match=r"the last number is no score of 0\.\.1; wanted"):
        read_yolo(tmp_path, classes=["cat", "dog"]).check()


def test_a_count_of_other_names_is_told(tmp_path: Path) -> None:
    write(tmp_path, "train/a")
    (tmp_path / "data.yaml").write_text("nc: 3\nnames: [no, yes]\n")
    with pytest.raises(DataError, match="nc is 3, and there are 2 names; correct one"):
        read_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: [no, yes]\n")
    assert read_yolo(tmp_path).classes == ["no", "yes"]


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "train/a", 2 * LINES)
    write(tmp_path, "train/b", None)
    assert len(read_yolo(tmp_path, classes=["cat", "dog"]).split("train")[0][1]) == 1
    assert "a.txt: line 2 repeats a box (1 such lines): it counts once" in caplog.text
    assert "b.jpg: no label file (1 of 2 images): background without a box" in caplog.text
