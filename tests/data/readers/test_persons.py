"""Readers of persons with joints: what a sample is, and what is wrong with a file, by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from fnac.data import open_data
from fnac.data.readers.coco_keypoints import read_coco_keypoints
from fnac.data.readers.lsp import read_lsp
from fnac.data.readers.mpii import read_mpii
from fnac.data.sets.joints import COCO, LSP, MPII
from fnac.data.sets.persons import PersonSource
from fnac.errors import DataError, UsageError
from tests.support.persons import coco_person, mpii_person, write_coco, write_mpii, write_picture


def message_of(read: Callable[[Path], PersonSource], root: Path) -> str:
    """What opening or checking the data set is refused with."""
    with pytest.raises(DataError) as caught:
        read(root).check()
    return str(caught.value)


def test_joint_sets_are_consistent() -> None:
    for joints in (MPII, LSP, COCO):
        count = len(joints.names)
        assert sorted(joints.mirrored) == list(range(count))
        for left, right in joints.flip_pairs:
            assert joints.names[left].startswith("left_")
            assert joints.names[right] == joints.names[left].replace("left_", "right_")
        assert len(joints.flip_pairs) == sum(n.startswith("left_") for n in joints.names)
        assert {i for pair in joints.limbs for i in pair} == set(range(count))
        assert not joints.sigmas or len(joints.sigmas) == count
    # The order in which pycocotools keeps its sigmas.
    assert COCO.sigmas == (
        .026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087,
        .089, .089,
    )  # fmt: skip


def test_mpii_sample(tmp_path: Path) -> None:
    write_mpii(tmp_path, [mpii_person(0), mpii_person(1, head_size=9.5)])
    source = read_mpii(tmp_path)
    source.check()
    assert source.splits == ("train",)
    assert source.classes == list(MPII.names)
    dataset = source.split("train")
    image, target = dataset[0]
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 60, 80))
    assert target.shape == (18, 3)
    assert target[0].tolist() == [10, 20, 2]
    assert target[2].tolist() == [0, 0, 0]
    # centre from 1, moved down by 15 * scale; window 200 * scale * 1.25
    assert target[16:].tolist() == [[30, 28, 0], [50, 50, 0]]
    person = dataset.info(0)
    assert person.image_id == "p0.png"
    assert person.scale == pytest.approx(0.2)
    assert person.box == (10, 8, 50, 48)
    assert person.head_size == pytest.approx(2**0.5)  # joints 9 and 8
    assert dataset.info(1).head_size == 9.5
    assert dataset.id(1) == "p1-1"


def test_mpii_heads_from_boxes_and_from_matlab(tmp_path: Path) -> None:
    box = {"headboxes": [[1, 1], [4, 5]]}
    unlabelled = [int(i not in (8, 9)) for i in range(16)]
    persons = [mpii_person(0, **box), mpii_person(1), mpii_person(2, joints_vis=unlabelled)]
    write_mpii(tmp_path, persons, "valid")
    dataset = read_mpii(tmp_path).split("val")
    heads = [dataset.info(i).head_size for i in range(3)]
    assert heads == [3.0, pytest.approx(2**0.5), None]
    boxes = np.zeros((2, 2, 3))
    boxes[1] = [[6, 6, 9], [8, 8, 12]]
    savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    dataset = read_mpii(tmp_path).split("val")
    assert [dataset.info(i).head_size for i in range(3)] == [3.0, 6.0, 9.0]
    savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes[:, :, :2]})
    assert message_of(read_mpii, tmp_path) == (
        f"{tmp_path}/annot/gt_valid.mat: headboxes_src 2x2x2; wanted 2x2x3, one per person"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1.0, 2.0]] * 15}, "'joints' holds 15x2; wanted 16x2 numbers"),
        ({"joints": "many"}, """'joints' is "many"; wanted 16x2 numbers"""),
        ({"center": [1.0, float("nan")]}, "'center' holds [1.0, NaN]; wanted finite numbers"),
        ({"scale": 0}, "scale 0; wanted the person's height / 200 pixels"),
        ({"joints_vis": None}, "'joints_vis' holds null; wanted 16 numbers"),
        ({"head_size": 0}, "'head_size' gives a head of 0 pixels; wanted more than 0"),
        (
            {"headboxes": [[3, 4], [3, 4]]},
            "'headboxes' gives a head of 0 pixels; wanted more than 0",
        ),
    ],
)
def test_wrong_entries_are_named_or_left_out(
    tmp_path: Path, change: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mpii(tmp_path, [mpii_person(0), mpii_person(1, **change), mpii_person(2)])
    wrong = f"{path}: person 1 (p1.png): {message}"
    assert message_of(read_mpii, tmp_path) == (
        f"{wrong}; correct it, or leave it out with --skip-bad"
    )
    with caplog.at_level(logging.WARNING):
        persons = read_mpii(tmp_path, skip_bad=True).split("train").persons
    assert [p.id for p in persons] == [0, 2]
    assert caplog.messages == [
        f"{tmp_path}: 1 annotations of 'train' are left out; the first: {wrong}; "
        "correct it, or leave it out with --skip-bad"
    ]


def test_joint_outside_and_missing_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = mpii_person(0)["joints"]
    places[5] = [83.0, 12.0]
    persons = [mpii_person(0, joints=places), mpii_person(1), mpii_person(2)]
    path = write_mpii(tmp_path, persons)
    outside = f"{path}: person 0 (p0.png): joint 5 at (82, 11); wanted it inside p0.png (80x60)"
    assert (
        message_of(read_mpii, tmp_path) == f"{outside}; correct it, or leave it out with --skip-bad"
    )
    (tmp_path / "images" / "p1.png").unlink()
    with caplog.at_level(logging.WARNING):
        kept = read_mpii(tmp_path, skip_bad=True)
        kept.check()
    assert [p.id for p in kept.split("train").persons] == [2]
    assert caplog.messages == [
        f"{tmp_path}: 2 of 3 samples of 'train' are left out; the first: {outside}; "
        "correct it, or leave it out with --skip-bad"
    ]
    write_mpii(tmp_path, [mpii_person(0)])
    (tmp_path / "images" / "p0.png").unlink()
    assert message_of(read_mpii, tmp_path).startswith(
        f"{path}: person 0 (p0.png): {tmp_path}/images/p0.png: no such file; wanted an image"
    )


def test_a_person_beside_the_picture(tmp_path: Path) -> None:
    nowhere = mpii_person(0, center=[5000.0, 60.0])
    path = write_mpii(tmp_path, [nowhere])
    assert message_of(read_mpii, tmp_path) == (
        f"{path}: person 0 (p0.png): the person about (4999, "
        f"{59 + 15 * nowhere['scale']:.0f}) lies outside the image of 80x60 pixels; correct it, "
        "or leave it out with --skip-bad"
    )


def test_a_picture_of_another_size_than_stated(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [coco_person(0)])
    content = json.loads(path.read_text())
    content["images"][0].update(width=800, height=600)
    path.write_text(json.dumps(content))
    assert message_of(read_coco_keypoints, tmp_path) == (
        f"{path}: annotation 100 (p0.png): the image has 80x60 pixels; 800x600 are stated; "
        "correct it, or leave it out with --skip-bad"
    )


def test_not_labelled_joints_may_be_anywhere(tmp_path: Path) -> None:
    places = mpii_person(0)["joints"]
    places[2] = [-1.0, 4000.0]
    write_mpii(tmp_path, [mpii_person(0, joints=places)])
    read_mpii(tmp_path).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON (line 1: Expecting property name enclosed in double quotes); wanted a"),
        ('{"images": []}', "holds a dict; wanted a list of persons as in MPII's train.json"),
        ('[{"file_name": "a"}]', "person 0: no 'image'; wanted a list of persons as in MPII's"),
    ],
)
def test_json_that_is_not_the_format(tmp_path: Path, content: str, message: str) -> None:
    path = write_mpii(tmp_path, [mpii_person(0)])
    path.write_text(content)
    assert message_of(read_mpii, tmp_path).startswith(f"{path}: {message}")


def test_nothing_there(tmp_path: Path) -> None:
    assert message_of(read_mpii, tmp_path / "x").startswith(f"{tmp_path}/x: no such folder")
    write_picture(tmp_path / "images" / "a.png")
    assert "neither annot/train.json nor annotations/mpii_train.json" in message_of(
        read_mpii, tmp_path
    )
    assert "no person_keypoints_train.json" in message_of(read_coco_keypoints, tmp_path)
    assert "neither joints.mat nor" in message_of(read_lsp, tmp_path)


def test_mpii_genuine(shared_data: Path) -> None:
    root = shared_data / "fixtures" / "mpii"
    source = read_mpii(root, annotations={"val": "test_mpii.json"})
    source.check()
    dataset = source.split("val")
    assert len(dataset) == 5
    person = dataset.info(0)
    assert person.image_id == "005808361.jpg"
    assert person.joints[0].tolist() == [803, 710, 2]
    assert person.centre == pytest.approx((965, 339 + 15 * 4.718488))
    assert person.scale == pytest.approx(4.718488)
    # Genuine labels lie within the box about the person that is cut out.
    image, target = dataset[0]
    assert image.shape[0] == 3
    low, high = person.joints[:, :2].min(axis=0), person.joints[:, :2].max(axis=0)
    half = target[17, 0].item() / 2
    assert (np.abs(low - person.centre) < half).all()
    assert (np.abs(high - person.centre) < half).all()


def test_coco_sample_and_who_is_left_out(tmp_path: Path) -> None:
    persons = [
        coco_person(0),
        coco_person(1, iscrowd=1),
        coco_person(2, keypoints=[0] * 51),
        coco_person(3, keypoints=[7, 7, 1] + [9, 9, 0] * 16, area=0),
    ]
    write_coco(tmp_path, persons)
    source = read_coco_keypoints(tmp_path)
    source.check()
    assert source.joints == COCO
    dataset = source.split("train")
    assert [p.id for p in dataset.persons] == [100, 103]
    assert [(p.id, p.crowd) for p in dataset.ignored] == [(101, True), (102, False)]
    assert dataset.id(0) == "p0-100"
    _, target = dataset[1]
    assert target[0].tolist() == [7, 7, 1]
    assert target[1:17].abs().sum() == 0
    # The middle of the box [5, 10, 30, 40] lies between pixels 19 and 20; 1.25 of its sides.
    assert target[17:].tolist() == [[19.5, 29.5, 0], [37.5, 50, 0]]
    assert (dataset.info(0).area, dataset.info(1).area) == (700, pytest.approx(0.53 * 30 * 40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, ": image_id 77; wanted one of the file's images"),
        ({"image_id": [1]}, ": image_id [1]; wanted one of the file's images"),
        ({"category_id": [1]}, ": category_id [1]; wanted one of the file's categories"),
        (
            {"bbox": [500, 500, 40, 40]},
            " (p1.png): box [500, 500, 540, 540] lies outside the image of 80x60 pixels",
        ),
        ({"category_id": 5}, ": category_id 5; wanted one of the file's categories"),
        ({"bbox": [1, 2, 0, 9]}, " (p1.png): bbox 0x9 pixels; wanted a width and a height"),
        ({"keypoints": [1, 2, 2]}, " (p1.png): 'keypoints' holds 3; wanted 51 numbers"),
        (
            {"keypoints": [1, 2, 3] * 17},
            f" (p1.png): visibility {[3.0] * 17}; wanted 0, 1 or 2 each",
        ),
    ],
)
def test_wrong_coco_annotations(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_coco(tmp_path, [coco_person(0), coco_person(1)])
    content = json.loads(path.read_text())
    content["annotations"][1].update(change)
    path.write_text(json.dumps(content))
    assert message_of(read_coco_keypoints, tmp_path) == (
        f"{path}: annotation 101{message}; correct it, or leave it out with --skip-bad"
    )
    assert len(read_coco_keypoints(tmp_path, skip_bad=True).split("train")) == 1


def test_persons_without_a_labelled_joint_are_told_from_none(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_person(2, keypoints=[5, 5, 0] * 17)])
    assert message_of(read_coco_keypoints, tmp_path).endswith(
        "split 'train' has no persons with a labelled joint, of 1 annotated"
    )


def test_coco_files_of_other_kinds(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [coco_person(0)])
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "cat"}]}))
    assert message_of(read_coco_keypoints, tmp_path) == (
        f"{path}: 0 categories with 'keypoints'; wanted one, the person's "
        "(instances_*.json has none: take person_keypoints_*.json)"
    )
    path.write_text(json.dumps({"annotations": []}))
    assert message_of(read_coco_keypoints, tmp_path) == (
        f"{path}: found annotations; wanted an object with the lists images, annotations, "
        "categories (COCO's format); name the right file"
    )
    write_coco(tmp_path, [coco_person(0, joints=2)], names=["nose", "tail"])
    assert message_of(read_coco_keypoints, tmp_path).startswith(
        f"{path}: joint 'tail' has no OKS sigma; wanted (left_, right_) nose, eye,"
    )
    source = read_coco_keypoints(tmp_path, sigmas=[0.1, 0.2])
    assert source.joints.sigmas == (0.1, 0.2)
    for word in ("14", "17"):
        (tmp_path / f"annotations/person_keypoints{word}_val.json").write_text("{}")
    assert "person_keypoints14_val.json, person_keypoints17_val.json; wanted one file" in (
        message_of(read_coco_keypoints, tmp_path)
    )


def test_coco_genuine(shared_data: Path) -> None:
    fixtures = shared_data / "fixtures"
    source = read_coco_keypoints(fixtures / "coco")
    source.check()
    content = json.loads((fixtures / "coco/annotations/person_keypoints_val2017.json").read_text())
    wanted = [a for a in content["annotations"] if not a["iscrowd"] and a["num_keypoints"]]
    dataset = source.split("val")
    assert [p.id for p in dataset.persons] == [a["id"] for a in wanted]
    for index, annotation in enumerate(wanted):
        joints = torch.tensor(annotation["keypoints"]).reshape(17, 3)
        assert torch.equal(dataset[index][1][:17], joints.float())
    mmpose = read_coco_keypoints(
        fixtures / "coco_keypoints_mmpose", annotations={"val": "test_coco.json"}
    )
    mmpose.check()
    assert len(mmpose.split("val")) == 12
    crowd = read_coco_keypoints(fixtures / "crowdpose", annotations={"val": "test_crowdpose.json"})
    crowd.check()
    assert crowd.joints.names[-2:] == ("head", "neck")
    assert crowd.joints.limbs == ()
    assert len(crowd.joints.flip_pairs) == 6


def test_lsp_pack(shared_data: Path) -> None:
    root = shared_data / "lspet_pose"
    source = read_lsp(root)
    source.check(["val"])
    assert source.joints == LSP
    assert (len(source.split("train")), len(source.split("val"))) == (1400, 300)
    same = read_mpii(root).split("val")
    order = [MPII.names.index({"neck": "upper_neck"}.get(n, n)) for n in LSP.names]
    for index in range(300):
        one, other = source.split("val").info(index), same.info(index)
        assert one.image == other.image
        assert np.abs(one.joints - other.joints[order]).max() < 1e-4
    assert same.info(0).head_size == 16.83


def matlab_lsp(root: Path, joints: np.ndarray) -> PersonSource:
    for number in range(joints.shape[2]):
        write_picture(root / "images" / f"im{number + 1:04d}.jpg")
    savemat(root / "joints.mat", {"joints": joints})
    return read_lsp(root)


def test_lsp_stock_layout(tmp_path: Path) -> None:
    places = np.random.default_rng(0).integers(5, 55, (3, 14, 6)).astype(float)
    places[2] = 0
    source = matlab_lsp(tmp_path, places)
    source.check()
    assert [p.id for p in source.split("train").persons] == [0, 1, 2]
    assert [p.id for p in source.split("val").persons] == [3, 4, 5]
    person = source.split("val").info(1)
    assert np.array_equal(person.joints[:, :2], places[:2, :, 4].T - 1)
    assert (person.joints[:, 2] == 2).all()
    x0, y0, x1, y1 = person.box
    assert x0 < person.joints[:, 0].min() < person.joints[:, 0].max() < x1
    assert y0 < person.joints[:, 1].min() < person.joints[:, 1].max() < y1
    savemat(tmp_path / "joints.mat", {"joints": places[:, :13]})
    assert message_of(read_lsp, tmp_path) == (
        f"{tmp_path}/joints.mat: joints 3x13x6; wanted 3x14xN (LSP) or 14x3xN (extended)"
    )
    (tmp_path / "joints.mat").write_text("no")
    assert "joints.mat: not a MATLAB file" in message_of(read_lsp, tmp_path)


def test_lsp_extended_layout(tmp_path: Path) -> None:
    places = np.random.default_rng(0).integers(5, 55, (14, 3, 10)).astype(float)
    places[:, 2] = 1
    places[3, :, 7] = 0
    source = matlab_lsp(tmp_path, places)
    source.check()
    assert (len(source.split("train")), len(source.split("val"))) == (9, 1)
    again = read_lsp(tmp_path)
    assert again.split("val").persons[0].id == source.split("val").persons[0].id
    person = next(p for s in source.splits for p in source.split(s).persons if p.id == 7)
    assert person.joints[3].tolist() == [0, 0, 0]
    (tmp_path / "images" / "im0002.jpg").unlink()
    assert message_of(read_lsp, tmp_path).startswith(
        f"{tmp_path}/images: 9 images im*.jpg; wanted 10, im1.jpg (or im0001.jpg) to im10.jpg, "
        "one per person in joints.mat"
    )


def test_lsp_images_are_those_of_their_numbers(tmp_path: Path) -> None:
    places = np.random.default_rng(0).integers(5, 55, (3, 14, 12)).astype(float)
    matlab_lsp(tmp_path, places)
    for image in sorted((tmp_path / "images").iterdir()):
        image.rename(image.with_name(f"IM{int(image.stem[2:])}.JPG"))
    source = read_lsp(tmp_path)
    persons = [*source.split("train").persons, *source.split("val").persons]
    assert [int(one.image.stem[2:]) for one in persons] == list(range(1, 13))
    (tmp_path / "images" / "IM3.JPG").rename(tmp_path / "images" / "im13.jpg")
    assert f"{tmp_path}/images: there is no image im3.jpg; wanted 12" in message_of(
        read_lsp, tmp_path
    )
    (tmp_path / "images" / "im0001.jpg").write_bytes(b"")
    assert "IM1.JPG and im0001.jpg; wanted one image of each number" in message_of(
        read_lsp, tmp_path
    )


def test_a_wrong_person_of_lsp_is_told_in_its_own_split(tmp_path: Path) -> None:
    places = np.random.default_rng(0).integers(5, 55, (3, 14, 4)).astype(float)
    places[0, 3, 3] = np.nan
    source = matlab_lsp(tmp_path, places)
    source.check(["train"])
    with pytest.raises(DataError, match=r"person 3 \(im0004.jpg\): a joint is not of finite"):
        source.check(["val"])


def test_spec_of_persons(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_person(0), coco_person(1, bbox=[0, 0, 0, 0])])
    spec = f"coco-keypoints:{tmp_path}"
    assert len(open_data(spec, "pose", skip_bad=True).split("train")) == 1
    with pytest.raises(DataError, match=r"annotation 101 \(p1.png\): bbox 0x0"):
        open_data(spec, "pose").check()
    with pytest.raises(UsageError, match="coco-keypoints has no annotations for --task seg"):
        open_data(spec)
    (tmp_path / "annotations/person_keypoints_train.json").rename(tmp_path / "mine.json")
    (tmp_path / "train").mkdir()
    file = tmp_path / "my.yaml"
    file.write_text(
        "reader: coco-keypoints\npath: .\nannotations: {train: mine.json}\nsigmas: [0.1]\n"
    )
    with pytest.raises(DataError, match=r"mine.json: 17 joints; wanted as many sigmas, found 1"):
        open_data(str(file), "pose")
    for line, wanted in (
        ("annotations: mine.json", "annotations 'mine.json'; wanted 'split: file' lines"),
        ("sigmas: 0.1", "sigmas 0.1; wanted positive numbers, one per joint"),
    ):
        file.write_text(f"reader: coco-keypoints\npath: .\n{line}\n")
        with pytest.raises(UsageError) as caught:
            open_data(str(file), "pose")
        assert str(caught.value) == f"{file}: {wanted}"
