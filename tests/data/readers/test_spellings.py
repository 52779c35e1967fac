"""Annotations in the spellings of common tools: read as meant, or the place is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.data.json_files import as_flag, as_key, as_number, as_whole, read_json
from fnac.data.readers.class_folders import read_class_folders
from fnac.data.readers.coco import read_coco
from fnac.data.readers.coco_keypoints import read_coco_keypoints
from fnac.data.readers.folder import FolderOptions, read_folder
from fnac.data.readers.voc import read_voc
from fnac.data.sets.joints import COCO, LSP, MPII, JointSet
from fnac.data.sets.persons import Person, joint_outside
from fnac.data.spec import open_data
from fnac.errors import DataError, UsageError
from fnac.passes.graph.joint_names import side_of

Content = dict[str, Any]


def picture(path: Path, height: int = 10, width: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


# ------------------------------------------------------------------------------------ values


def test_numbers_ids_and_flags() -> None:
    assert [as_number(v) for v in (3, 2.5, "2.5", " 7 ", True, None, "x", 10**400, "nan", [1])] == [
        3.0, 2.5, 2.5, 7.0, None, None, None, None, None, None,
    ]  # fmt: skip
    assert [as_key(v) for v in (3, 3.0, "3", "007", "a/1", 2.5, None, True, 10**30, "9" * 30)] == [
        3, 3, 3, "007", "a/1", None, None, None, None, "9" * 30,
    ]  # fmt: skip
    assert [as_whole(v) for v in (96.0, "96", 96.5, "", 2**63)] == [96, 96, None, None, None]
    flags: list[object] = [0, 1, "0", "1", 1.0, False, True, None, "true", "False", "", 2, "maybe"]
    assert [as_flag(v) for v in flags] == [
        False, True, False, True, True, False, True, False, True, False, False, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "JSON that cannot be read"),
        ("{'a': 1}", r"not JSON \(line 1"),
    ],
)
def test_json_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_json(tmp_path / "a.json", "annotations")


def test_json_of_windows(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_bytes('{"naïve": [1]}\r\n'.encode(encoding))
        assert read_json(tmp_path / "a.json", "annotations") == {"naïve": [1]}


# ------------------------------------------------------------------------------------ COCO


def coco(root: Path, change: Callable[[Content], None] | None = None, image: str = "a.png") -> Path:
    content: Content = {
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "images": [{"id": 1, "file_name": image, "width": 20, "height": 10}],
        "annotations": [
            {"id": 10, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 9},
        ],
    }
    if change is not None:
        change(content)
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    picture(root / "train" / image.replace("\\", "/"))
    return root


def as_texts(content: Content) -> None:
    for kind in content.values():
        for record in kind:
            for key, value in record.items():
                record[key] = (
                    [str(v) for v in value] if isinstance(value, list)
                    else str(value) if isinstance(value, int) else value
                )  # fmt: skip


def as_floats(content: Content) -> None:
    for kind in content.values():
        for record in kind:
            for key, value in record.items():
                record[key] = float(value) if isinstance(value, int) else value


def without_sizes(content: Content) -> None:
    for record in content["images"]:
        record["width"] = record["height"] = None


def without_area(content: Content) -> None:
    content["annotations"][0].update(area=None, iscrowd="0", segmentation=[])


def other_folder(content: Content) -> None:
    content["images"][0]["file_name"] = "C:\\data\\train\\a.png"


def number_as_name(content: Content) -> None:
    content["categories"][1]["name"] = " dog "


@pytest.mark.parametrize(
    "change",
    [as_texts, as_floats, without_sizes, without_area, other_folder, number_as_name],
)
def test_coco_in_other_spellings(tmp_path: Path, change: Callable[[Content], None]) -> None:
    source = read_coco(coco(tmp_path, change))
    source.check()
    train = source.split("train")
    assert source.classes == ["cat", "dog"]
    assert train[0][1].tolist() == [[1, 2, 4, 6, 1]]


@pytest.mark.parametrize("name", ["sub\\a.png", "sub/a.png", "é.png", "a b.PNG"])
def test_coco_file_names(tmp_path: Path, name: str) -> None:
    read_coco(coco(tmp_path, image=name)).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(iscrowd="maybe"), 'iscrowd "maybe"; wanted 0 or 1'),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 10**400, 5]), "bbox [0, 0, 1000"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 2**1000, 5]), "lies outside the image"),
        (lambda c: c["annotations"][0].update(area=10**400), "area 1000"),
        (lambda c: c["images"][0].update(width=10**400), "width 1000"),
        (lambda c: c["images"][0].update(file_name="x" * 5000), "no such file"),
        (lambda c: c["images"][0].update(file_name=["a"]), 'file_name ["a"]; wanted a file'),
        (lambda c: c["images"][0].update(id={"a": 1}), 'images[0]: found {"id": {"a": 1}'),
        (lambda c: c["categories"][0].update(id=[1]), 'category {"id": [1]'),
        (lambda c: c["categories"][0].update(id=3), "category 3 is listed twice"),
    ],
)
def test_coco_extremes_are_named(
    tmp_path: Path, change: Callable[[Content], None], message: str
) -> None:
    coco(tmp_path, change)
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path).check()
    assert message in str(caught.value)
    assert len(str(caught.value)) < 6000


# ------------------------------------------------------------------------------------ VOC


def voc(root: Path, *, filename: str = "one.jpg", size: str = "", line: str = "one") -> Path:
    home = root / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "ImageSets/Main"):
        (home / folder).mkdir(parents=True)
    picture(home / "JPEGImages" / "one.jpg")
    picture(home / "JPEGImages" / "two.jpg", 30, 30)
    (home / "Annotations" / "one.xml").write_text(
        f"<annotation><filename>{filename}</filename>{size}<object><name>cow</name><bndbox>"
        "<xmin> 2 </xmin><ymin>3.0</ymin><xmax>6</xmax><ymax>8</ymax></bndbox></object>"
        "</annotation>"
    )
    (home / "ImageSets" / "Main" / "train.txt").write_text(line)
    return home


SIZE = "<size><width>20</width><height>10</height></size>"


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "two.jpg", "size": SIZE},
        {"size": ""},
        {"size": "<size><width>0</width><height>0</height></size>"},
        {"size": "<size><width>20.0</width><height> 10 </height></size>"},
        {"size": SIZE, "line": "\ufeffone\r\n"},
        {"size": SIZE, "line": "one.jpg\n"},
        {"size": SIZE, "line": "JPEGImages\\one.jpg\n"},
        {"size": SIZE, "line": "one  1\n"},
    ],
)
def test_voc_in_other_spellings(tmp_path: Path, change: dict[str, str]) -> None:
    voc(tmp_path, **change)
    source = read_voc(tmp_path)
    source.check()
    train = source.split("train")
    assert train.info(0).image.name == "one.jpg"
    assert train[0][1].tolist() == [[1, 2, 6, 8, 9]]


def test_a_missing_first_annotation_is_named(tmp_path: Path) -> None:
    home = voc(tmp_path, size=SIZE, line="gone\none\n")
    with pytest.raises(DataError, match=r"gone.xml: no such file; wanted the annotations of gone"):
        read_voc(tmp_path).split("train")
    (home / "Annotations" / "one.xml").unlink()
    with pytest.raises(DataError, match="no lists of images"):
        read_voc(tmp_path)


def test_voc_names_with_blanks_upper_case_and_own_classes(tmp_path: Path) -> None:
    home = voc(tmp_path, size=SIZE, line="my cow\n")
    (home / "Annotations" / "one.xml").rename(home / "Annotations" / "my cow.xml")
    (home / "JPEGImages" / "one.jpg").rename(home / "JPEGImages" / "my cow.JPG")
    (tmp_path / "labels.txt").write_text("cow\n")
    source = read_voc(tmp_path)
    source.check()
    assert source.classes == ["cow"]
    assert source.split("train").info(0).image.name == "my cow.JPG"


# ------------------------------------------------------------------------------------ pose


@pytest.mark.parametrize(
    "left", ["left_hip", "hip-left", "Left Hip", "LHip", "leftHip", "l_hip", "hip.L", "L_HIP"]
)
def test_sides_in_every_spelling(left: str) -> None:
    right = {"left": "right", "Left": "Right", "L": "R", "l": "r"}
    for old, new in right.items():
        if old in left:
            other = left.replace(old, new, 1)
            break
    assert (side_of(left), side_of(other)) == (("left", "hip"), ("right", "hip"))
    joints = JointSet(("nose", left, other), (), "AP")
    assert joints.flip_pairs == ((1, 2),)
    assert joints.mirrored == [0, 2, 1]
    assert joints.unpaired == ()


def test_names_without_sides() -> None:
    for name in ("nose", "centre", "ear", "tail", "leftover", "lid", "right", "l"):
        assert side_of(name)[0] is None
    assert JointSet(("left_ear", "nose"), (), "AP").unpaired == ("left_ear",)
    for known, pairs in ((MPII, 6), (LSP, 6), (COCO, 8)):
        assert len(known.flip_pairs) == pairs
        assert known.unpaired == ()


def keypoints(
    root: Path, names: list[str], change: Callable[[Content], None] | None = None
) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        picture(root / split / "a.png", 40, 40)
        content: Content = {
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 40}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 30, 30],
                 "keypoints": [v for i in range(len(names)) for v in (10 + i, 5, 2)]},
            ],
            "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
        }  # fmt: skip
        if change is not None and split == "train":
            change(content)
        path = root / "annotations" / f"person_keypoints_{split}.json"
        path.write_text(json.dumps(content))
    return root


SIGMAS = {"sigmas": [0.1, 0.1, 0.1]}


def test_joints_in_another_order_in_another_file(tmp_path: Path) -> None:
    def reverse(content: Content) -> None:
        content["categories"][0]["keypoints"] = ["tail", "nose", "back"]

    source = read_coco_keypoints(keypoints(tmp_path, ["nose", "back", "tail"], reverse), **SIGMAS)
    train, val = (source.split(split)[0][1][:3, 0].tolist() for split in ("train", "val"))
    assert source.classes in (["nose", "back", "tail"], ["tail", "nose", "back"])
    by_name = dict(zip(source.classes, train, strict=True))
    assert by_name == {"tail": 10, "nose": 11, "back": 12}
    assert dict(zip(source.classes, val, strict=True)) == {"nose": 10, "back": 11, "tail": 12}


@pytest.mark.parametrize(
    ("skeleton", "limbs"),
    [
        ([[1, 2], [2, 3]], ((0, 1), (1, 2))),
        ([[0, 1], [1, 2]], ((0, 1), (1, 2))),
        ([["1", 2.0]], ((0, 1),)),
        ([[1, 9]], ()),
        ([["nose", "back"]], ()),
        (None, ()),
        ({"a": 1}, ()),
    ],
)
def test_skeletons(tmp_path: Path, skeleton: object, limbs: tuple[tuple[int, int], ...]) -> None:
    keypoints(tmp_path, ["nose", "back", "tail"])
    for split in ("train", "val"):
        path = tmp_path / "annotations" / f"person_keypoints_{split}.json"
        content = json.loads(path.read_text())
        content["categories"][0]["skeleton"] = skeleton
        path.write_text(json.dumps(content))
    assert read_coco_keypoints(tmp_path, **SIGMAS).joints.limbs == limbs


def test_mirrored_joints_can_be_given(tmp_path: Path) -> None:
    keypoints(tmp_path, ["bow", "port", "starboard"])
    spec = tmp_path / "data.yaml"
    text = "reader: coco-keypoints\npath: .\nsigmas: [0.1, 0.1, 0.1]\n"
    spec.write_text(text)
    assert open_data(str(spec), "pose").joints.mirrored == [0, 1, 2]
    spec.write_text(f"{text}mirror: [[port, starboard]]\n")
    assert open_data(str(spec), "pose").joints.mirrored == [0, 2, 1]
    spec.write_text(f"{text}mirror: [[port, stern]]\n")
    with pytest.raises(DataError, match="'mirror' names joint 'stern'; wanted one of bow, port"):
        open_data(str(spec), "pose")
    spec.write_text(f"{text}mirror: [port]\n")
    with pytest.raises(UsageError, match=r"wanted pairs of joints, \[LEFT, RIGHT\] each"):
        open_data(str(spec), "pose")


def test_an_id_of_any_text_and_one_of_none(tmp_path: Path) -> None:
    def long(content: Content) -> None:
        content["annotations"][0]["id"] = "../" * 200

    source = read_coco_keypoints(
        keypoints(tmp_path / "a", ["nose", "back", "tail"], long), **SIGMAS
    )
    assert source.split("train").id(0) == f"a-{'../' * 200}"

    def none(content: Content) -> None:
        content["annotations"][0]["id"] = [1]

    source = read_coco_keypoints(
        keypoints(tmp_path / "b", ["nose", "back", "tail"], none), **SIGMAS
    )
    with pytest.raises(DataError, match="annotation 0: no 'id'"):
        source.split("train")


# ------------------------------------------------------------------------------------ folders


def test_class_folders_as_tools_leave_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (
        "Train/cat/a.png", "Train/cat/deep/er/b.jfif", "Train/dog/c.PPM", "Train/empty/notes.txt",
        "Train/__MACOSX/cat/._a.png", "Train/dog/@eaDir/c.png/thumb.jpg", "valid/cat/d.png",
        "valid/dog/e.heic", "valid/dog/f.png", "Train/loose.png",
    ):  # fmt: skip
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    source = read_class_folders(tmp_path)
    assert source.classes == ["cat", "dog"]
    assert {s: [f.image.name for f in source.split(s).files] for s in source.splits} == {
        "train": ["a.png", "b.jfif", "c.PPM"], "val": ["d.png", "f.png"],
    }  # fmt: skip
    assert source.split("train").id(1) == "cat-b"
    for told in ("no image below empty: no class", "1 .heic", "1 images beside the class folders"):
        assert told in caplog.text
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="val and valid; wanted one folder for 'val'"):
        read_class_folders(tmp_path)


def test_nested_masks_and_names_that_tools_give(tmp_path: Path) -> None:
    mask = Image.fromarray(np.zeros((10, 20), np.uint8))
    for image, name in (
        ("Training/city/a.png", "Training/city/a_mask.png"),
        ("Training/b.jpg", "Training/b.jpg.png"),
        ("Training/c.1.png", "Training/c.1.png"), ("validation/d.png", "validation/d_labelIds.png"),
    ):  # fmt: skip
        picture(tmp_path / "images" / image)
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask.save(path)
    source = read_folder(tmp_path, FolderOptions(classes=["a", "b"]))
    source.check()
    assert {s: len(source.split(s)) for s in source.splits} == {"train": 3, "val": 1}


def test_a_home_folder_behind_the_readers_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    coco(tmp_path / "data")
    open_data("coco:~/data", "det").check()
    (tmp_path / "data.yaml").write_text("reader: coco\npath: ~/data\n")
    open_data("~/data.yaml", "det").check()
    with pytest.raises(DataError, match="no such folder"):
        open_data("coco:~nobody-of-this-name/data", "det")


@pytest.mark.parametrize("text", ["[" * 3000, "a: " + "9" * 5000, "reader: &a [*a]", "\x01"])
def test_yaml_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"data.yaml: (not YAML|reader)"):
        open_data(str(tmp_path / "data.yaml"), "det")


def test_joints_in_parts_of_the_image_are_refused(tmp_path: Path) -> None:
    """A tool that writes 0..1 puts every joint into the first pixel."""
    joints = np.array([[0.2, 0.3, 2], [0.9, 0.8, 1], [0, 0, 0]], np.float32)
    person = Person("person 0", 0, tmp_path / "p.png", 0, joints, (50, 30), (60, 40), 900.0)
    assert joint_outside(person, (80, 60)) == (
        "person 0: all joints lie within the first pixel of 80x60; wanted pixels, not parts of the "
        "image"
    )
    joints[1, :2] = 1, 40
    assert joint_outside(person, (80, 60)) is None
