from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.data.readers.coco import read_coco
from fnac.data.readers.voc import CLASSES, read_voc
from fnac.data.spec import open_data
from fnac.errors import DataError, UsageError

Content = dict[str, Any]


def coco_folder(root: Path, change: Callable[[Content], None] | None = None) -> Path:
    """A COCO data set of two images; ``change`` spoils its annotations."""
    content: Content = {
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "images": [
            {"id": 1, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 2, "file_name": "b.png", "width": 8, "height": 8},
        ],
        "annotations": [
            {"id": 10, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 9},
            {"id": 11, "image_id": 1, "category_id": 7, "bbox": [17.5, 0, 3, 10], "iscrowd": 1},
        ],
    }
    if change is not None:
        change(content)
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    (root / "train2017").mkdir()
    Image.new("RGB", (20, 10)).save(root / "train2017" / "a.png")
    Image.new("RGB", (8, 8)).save(root / "train2017" / "b.png")
    return root


def test_coco_rows_crowds_and_pictures_without_objects(tmp_path: Path) -> None:
    source = read_coco(coco_folder(tmp_path))
    assert (source.classes, source.splits) == (["cat", "dog"], ("train",))
    train = source.split("train")
    image, boxes = train[0]
    assert image.shape == (3, 10, 20)
    assert boxes.tolist() == [[1, 2, 4, 6, 1]]
    info = train.info(0)
    assert info.areas.tolist() == [9]
    assert info.ignored.tolist() == [[17.5, 0, 20, 10, 0]], "half a pixel outside is clipped"
    assert train[1][1].shape == (0, 5)
    assert [train.id(i) for i in range(2)] == ["a", "b"]
    source.check()


def test_classes_can_be_chosen(tmp_path: Path) -> None:
    train = read_coco(coco_folder(tmp_path), classes=["dog"]).split("train")
    assert train[0][1].tolist() == [[1, 2, 4, 6, 0]]
    assert (len(train), len(train.info(0).ignored)) == (2, 0)
    with pytest.raises(DataError, match="no category 'cow'; wanted one of cat, dog; correct"):
        read_coco(tmp_path, classes=["cow"])


def record(key: str, place: int, **values: object) -> Callable[[Content], None]:
    return lambda content: content[key][place].update(values)


BAD = [
    (record("annotations", 0, bbox=[18, 2, 9, 4]),
     "annotation 10: image 1: box [18, 2, 27, 6] lies outside the image of 20x10 pixels"),
    (record("annotations", 0, bbox=[20, 2, 1, 4]),
     "annotation 10: image 1: box [20, 2, 21, 6] lies outside the image of 20x10 pixels"),
    (record("annotations", 0, bbox=[1, 2, 0, 4]),
     "annotation 10: image 1: box [1, 2, 1, 6] has no area; wanted x1 > x0 and y1 > y0"),
    (record("annotations", 0, bbox=[0.1, 0.2, 0.8, 0.4]),
     "annotation 10: image 1: box [0.1, 0.2, 0.9, 0.6] lies within the first pixel of 20x10; "
     "wanted pixels, not parts of the image"),
    (record("annotations", 0, bbox=[1, 2, 3]),
     "annotation 10: image 1: bbox [1, 2, 3]; wanted [x, y, width, height]"),
    (record("annotations", 0, category_id=5),
     "annotation 10: image 1: category_id 5 is not the id of any category"),
    (record("annotations", 0, area=-5),
     "annotation 10: image 1: area -5; wanted the object's pixels"),
    (record("annotations", 0, area=True),
     "annotation 10: image 1: area true; wanted the object's pixels"),
    (record("annotations", 0, image_id=9), "annotation 10: image_id 9 is not the id of any image"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_wrong_annotation_is_refused_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Any, message: str
) -> None:
    file = coco_folder(tmp_path, change) / "annotations" / "instances_train2017.json"
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path).check()
    todo = "correct it, or leave such annotations out with --skip-bad"
    assert str(caught.value) == f"{file}: {message}; {todo}"
    with caplog.at_level(logging.WARNING):
        train = read_coco(tmp_path, skip_bad=True).split("train")
    assert (len(train), len(train[0][1])) == (2, 0)
    assert caplog.messages == [
        f"{tmp_path}: 1 annotations of 'train' are left out; the first: {caught.value}"
    ]


def test_two_categories_of_one_name_are_refused(tmp_path: Path) -> None:
    coco_folder(tmp_path, record("categories", 1, name="cat"))
    with pytest.raises(DataError, match="both called 'cat', and annotations have both; wanted"):
        read_coco(tmp_path)


def test_a_category_that_nothing_uses_may_have_the_name_of_another(tmp_path: Path) -> None:
    def group(content: Content) -> None:
        content["categories"].insert(0, {"id": 0, "name": "dog", "supercategory": "none"})

    source = read_coco(coco_folder(tmp_path, group))
    assert source.classes == ["dog", "cat"]
    assert source.split("train")[0][1].tolist() == [[1, 2, 4, 6, 0]]


def test_an_object_to_ignore_is_not_trained_on(tmp_path: Path) -> None:
    source = read_coco(coco_folder(tmp_path, record("annotations", 0, ignore=1)))
    info = source.split("train").info(0)
    assert (len(info.boxes), len(info.ignored)) == (0, 2)


def test_images_of_a_split_without_annotations_are_refused(tmp_path: Path) -> None:
    coco_folder(tmp_path)
    with pytest.raises(DataError, match="images of 'trian', which has no annotations; wanted fold"):
        read_coco(tmp_path, images={"trian": "train2017"})


def test_one_file_under_two_spellings_is_one_image(tmp_path: Path) -> None:
    coco_folder(tmp_path, record("images", 1, file_name="../train2017/a.png"))
    with pytest.raises(DataError, match=r"images 1 and 2 are both .*; wanted each file once"):
        read_coco(tmp_path).check()


def test_wrong_pictures_are_refused_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = coco_folder(tmp_path) / "train2017"
    (pictures / "b.png").unlink()
    with pytest.raises(DataError, match=r"b.png: no such file; wanted an image.*image 2 of"):
        read_coco(tmp_path).check(["train"])
    Image.new("RGB", (8, 9)).save(pictures / "b.png")
    with pytest.raises(DataError, match=r"b.png: 8x9 pixels; wanted 8x8 as the annotations of"):
        read_coco(tmp_path).check()
    (pictures / "b.png").write_bytes((pictures / "a.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"b.png: cannot be decoded"):
        read_coco(tmp_path).check()
    (pictures / "a.png").unlink()
    with pytest.raises(DataError, match=r"a.png: no such file.*\(1 more are wrong\)"):
        read_coco(tmp_path).check()
    shutil.copy(pictures / "b.png", pictures / "c.png")
    Image.new("RGB", (20, 10)).save(pictures / "a.png")
    assert len(read_coco(tmp_path, skip_bad=True).split("train")) == 1
    assert "1 of 2 samples of 'train' are left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON (line 1: Expecting property name"),
        ("[]", "found list; wanted an object with the lists images, annotations, categories"),
        ('{"images": []}', "found images; wanted an object with the lists images, annotations"),
        ('{"images": [], "annotations": [], "categories": [1]}', "category 1; wanted an object"),
    ],
)
def test_a_json_that_is_not_coco_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = coco_folder(tmp_path) / "annotations" / "instances_train2017.json"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path)
    assert str(caught.value).startswith(f"{file}: {message}")


def test_splits_must_have_the_same_categories(tmp_path: Path) -> None:
    coco_folder(tmp_path)
    content = json.loads((tmp_path / "annotations/instances_train2017.json").read_text())
    content["categories"].reverse()
    content["annotations"] = []
    (tmp_path / "val.json").write_text(json.dumps(content))
    files = {"train": "annotations/instances_train2017.json", "val": "val.json"}
    source = read_coco(tmp_path, annotations=files, images={"val": "train2017"})
    assert source.classes == ["dog", "cat"]
    assert source.split("train")[0][1][:, 4].tolist() == [0], "names count, not a file's order"
    content["categories"].pop()
    (tmp_path / "val.json").write_text(json.dumps(content))
    source = read_coco(tmp_path, annotations=files, images={"val": "train2017"})
    with pytest.raises(DataError, match=r"category '.*' is not among those of val.json"):
        source.split("train")


def test_the_genuine_coco_sample(shared_data: Path) -> None:
    source = read_coco(shared_data / "fixtures" / "coco")
    source.check()
    val = source.split("val")
    assert (len(val), len(source.classes), source.classes[-1]) == (10, 80, "toothbrush")
    assert sum(len(val.info(i).ignored) for i in range(10)) == 3
    assert min(len(val[i][1]) for i in range(10)) == 0


@pytest.mark.parametrize(
    ("name", "train", "val", "boxes", "crowds"),
    [("coco_mini", 461, 110, (3785, 886), 47), ("bccd", 205, 87, (2804, 1137), 0)],
)
def test_the_packs(
    shared_data: Path, name: str, train: int, val: int, boxes: tuple[int, int], crowds: int
) -> None:
    source = read_coco(shared_data / name)
    source.check(["val"])
    found = [source.split(split) for split in ("train", "val")]
    assert [len(d) for d in found] == [train, val]
    assert [sum(len(p.boxes) for p in d.pictures) for d in found] == list(boxes)
    assert sum(len(p.ignored) for d in found for p in d.pictures) == crowds


@pytest.mark.parametrize("layout", ["coco", "coco_instances", "mmdet_coco", "coco_roboflow"])
def test_other_layouts_of_coco(shared_data: Path, layout: str) -> None:
    folder = shared_data / "fixtures" / "layouts_datumaro_synthetic" / "coco_dataset" / layout
    source = read_coco(folder)
    assert source.splits == ("train", "val")
    assert source.split("train").id(0) == "a"


# --------------------------------------------------------------------------- Pascal VOC

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def voc_folder(root: Path, *objects: str) -> Path:
    year = root / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (year / folder).mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(year / "JPEGImages" / "one.jpg")
    for split in ("train", "val"):
        (year / "ImageSets" / "Main" / f"{split}.txt").write_text("one\n")
    (year / "Annotations" / "one.xml").write_text(
        "<annotation><filename>one.jpg</filename><size><width>20</width><height>10</height></size>"
        + "".join(objects)
        + "</annotation>"
    )
    return root


def test_voc_corners_start_at_one_and_difficult_objects_are_set_aside(tmp_path: Path) -> None:
    easy = OBJECT.format(name="cat", difficult=0, box=(1, 1, 20, 10))
    hard = OBJECT.format(name="dog", difficult=1, box=(2, 3, 4, 5))
    source = read_voc(voc_folder(tmp_path, easy, hard))
    source.check()
    assert source.splits == ("train", "val")
    info = source.split("train").info(0)
    assert info.boxes.tolist() == [[0, 0, 20, 10, CLASSES.index("cat")]]
    assert info.areas.tolist() == [200]
    assert info.ignored.tolist() == [[1, 2, 4, 5, CLASSES.index("dog")]]


def test_boxes_that_count_from_zero_are_told_and_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voc_folder(tmp_path, OBJECT.format(name="cat", difficult=0, box=(0, 2, 5, 9)))
    boxes = read_voc(tmp_path).split("train").info(0).boxes
    assert boxes.tolist() == [[0, 1, 5, 9, CLASSES.index("cat")]]
    assert "boxes begin at 0 (in 1 of 1 files), and VOC counts pixels from 1" in caplog.text
    caplog.clear()
    (tmp_path / "d.yaml").write_text("reader: voc\npath: .\nfirst_pixel: 0\n")
    train = open_data(str(tmp_path / "d.yaml"), "det").split("train")
    assert train[0][1].tolist() == [[0, 2, 5, 9, CLASSES.index("cat")]]
    assert caplog.text == ""


def test_annotations_beside_their_images(tmp_path: Path) -> None:
    voc_folder(tmp_path / "made", OBJECT.format(name="cat", difficult=0, box=(1, 1, 5, 9)))
    year = tmp_path / "made" / "VOCdevkit" / "VOC2012"
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        for name, folder in (("one.xml", "Annotations"), ("one.jpg", "JPEGImages")):
            shutil.copy(year / folder / name, tmp_path / split / name)
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    source = read_voc(tmp_path)
    source.check()
    assert source.splits == ("train", "val")
    assert source.split("val")[0][1].tolist() == [[0, 0, 5, 9, 1]]


def test_tags_in_other_spellings_are_read_and_other_files_refused(tmp_path: Path) -> None:
    voc_folder(tmp_path, OBJECT.format(name="cat", difficult=0, box=(1, 1, 5, 9)))
    file = tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "one.xml"
    text = file.read_text()
    file.write_text(
        text.replace("<annotation>", '<Annotation xmlns="urn:voc">').replace(
            "</annotation>", "</Annotation>"
        ).replace("object>", "Object>")
    )  # fmt: skip
    assert len(read_voc(tmp_path).split("train").info(0).boxes) == 1
    file.write_text(text.replace("annotation>", "annotations>"))
    with pytest.raises(DataError, match=r"<annotations> was found; wanted <annotation>, VOC's"):
        read_voc(tmp_path).check()
    twice = text.replace("</bndbox>", "</bndbox><bndbox><xmin>1</xmin></bndbox>")
    file.write_text(twice)
    with pytest.raises(DataError, match="object 0: 2 bndbox; wanted one; write an object for each"):
        read_voc(tmp_path).check()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (OBJECT.format(name="cow", difficult=0, box=(5, 1, 40, 9)),
         "object 0: box [4, 0, 40, 9] lies outside the image of 20x10 pixels"),
        (OBJECT.format(name="cow", difficult=0, box=(5, 1, 5, 9)),
         "object 0: box [5, 1, 5, 9] has no area; wanted xmax > xmin, ymax > ymin"),
        (OBJECT.format(name="cow", difficult=0, box=("five", 1, 5, 9)),
         "object 0: bndbox ['five', '1', '5', '9']; wanted the numbers xmin, ymin, xmax, ymax"),
        (OBJECT.format(name="unicorn", difficult=0, box=(5, 1, 6, 9)),
         f"object 0: class 'unicorn'; wanted one of {', '.join(CLASSES)}"),
    ],
)  # fmt: skip
def test_a_wrong_voc_object_is_refused_or_left_out(
    tmp_path: Path, thing: str, message: str
) -> None:
    voc_folder(tmp_path, thing)
    file = tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "one.xml"
    with pytest.raises(DataError) as caught:
        read_voc(tmp_path).check()
    assert str(caught.value).startswith(f"{file}: {message}; ")
    assert "; correct it, or leave such annotations out with --skip-bad" in str(caught.value)
    assert len(read_voc(tmp_path, skip_bad=True).split("val")[0][1]) == 0
    file.write_text("<annotation>")
    with pytest.raises(DataError, match=r"one.xml: not XML \(.*\); wanted VOC annotations"):
        read_voc(tmp_path).check()
    file.unlink()
    with pytest.raises(DataError, match=r"no lists of images"):
        read_voc(tmp_path)


def test_the_genuine_voc_sample(shared_data: Path) -> None:
    source = read_voc(shared_data / "fixtures" / "voc")
    source.check()
    train = source.split("train")
    assert (source.splits, len(train), len(source.split("val"))) == (("train", "val"), 2, 1)
    image, boxes = train[0]
    assert image.shape == (3, 500, 353)
    dog, person = CLASSES.index("dog"), CLASSES.index("person")
    assert boxes.tolist() == [[47, 239, 195, 371, dog], [7, 11, 352, 498, person]]


def test_a_data_set_in_vocs_way(shared_data: Path) -> None:
    """Blood cells: own classes, lists and folders; as the COCO annotations of the same pack."""
    names = ["RBC", "WBC", "Platelets"]
    lists = {"train": ["voc/train.txt"], "val": ["voc/val.txt"]}
    root = shared_data / "bccd"
    options: dict[str, Any] = {"lists": lists, "images": "../images/{split}", "classes": names}
    with pytest.raises(DataError, match=r"BloodImage_00343\.xml: object"):
        read_voc(root, **options).split("train")
    source = read_voc(root, skip_bad=True, **options)
    other = read_coco(root)
    for split in ("train", "val"):
        voc, coco = source.split(split), other.split(split)
        by_name = {p.image.name: p for p in coco.pictures}
        assert len(voc) == len(coco)
        for picture in voc.pictures:
            # the COCO file took the corners as they stand, without the pixel they include
            wanted = by_name[picture.image.name].boxes - [1, 1, 0, 0, 0]
            wanted = np.concatenate([np.maximum(wanted[:, :4], 0), wanted[:, 4:]], axis=1)
            np.testing.assert_array_equal(picture.boxes, wanted)


# --------------------------------------------------------------------------- --data


def test_data_sets_are_opened_by_spec(tmp_path: Path) -> None:
    coco_folder(tmp_path)
    source = open_data(f"coco:{tmp_path}", "det")
    assert (source.name, source.classes, source.splits) == ("coco", ["cat", "dog"], ("train",))
    (tmp_path / "d.yaml").write_text(
        "reader: coco\npath: .\nclasses: [dog]\nimages: {val: train2017}\n"
        "annotations: {val: annotations/instances_train2017.json}\n"
    )
    source = open_data(str(tmp_path / "d.yaml"), "det")
    assert (source.classes, source.splits) == (["dog"], ("val",))
    assert source.split("val")[0][1].tolist() == [[1, 2, 4, 6, 0]]


def test_voc_by_spec_and_skip_bad(tmp_path: Path) -> None:
    voc_folder(tmp_path, OBJECT.format(name="unicorn", difficult=0, box=(5, 1, 6, 9)))
    with pytest.raises(DataError, match="class 'unicorn'"):
        open_data(f"voc:{tmp_path}", "det").check(["train"])
    assert len(open_data(f"voc:{tmp_path}", "det", skip_bad=True).split("train")) == 1
    (tmp_path / "d.yaml").write_text(
        "reader: voc\npath: VOCdevkit\nclasses: [unicorn]\n"
        "lists: {val: VOC2012/ImageSets/Main/val.txt}\n"
    )
    source = open_data(str(tmp_path / "d.yaml"), "det")
    assert source.split("val")[0][1].tolist() == [[4, 0, 6, 9, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reader: coco\nclasses: [a, a]", "classes ['a', 'a']; wanted a list of names, each once"),
        ("reader: coco\nimages: here", "images 'here'; wanted 'split: folder' lines"),
        ("reader: voc\nlists: {val: 3}", "lists.val 3; wanted a file, or several"),
        ("reader: voc\nimages: [a]", "images ['a']; wanted a folder's name"),
    ],
)
def test_senseless_keys_are_refused(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(f"{line}\npath: .\n")
    with pytest.raises(UsageError) as caught:
        open_data(str(file), "det")
    assert str(caught.value) == f"{file}: {message}"
