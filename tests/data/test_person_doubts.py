"""What a file of persons trains and measures without an error, and in vain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnac.data.account import DataAccount, take_account
from fnac.data.sets.joints import COCO, JointSet
from fnac.data.sets.person_doubts import mirror_findings
from fnac.data.spec import open_data
from fnac.errors import DataError, UsageError
from tests.support.persons import coco_person, mpii_person, write_coco, write_mpii


def counted(spec: str) -> DataAccount:
    return take_account(open_data(spec, "pose"), "pose", None)


def told(spec: str) -> dict[str, str]:
    findings = {one.kind: one.text for one in counted(spec).findings()}
    findings.pop("nothing-measured")
    return findings


def of_coco(root: Path, *changes: dict[str, Any]) -> str:
    write_coco(root, [coco_person(number, **change) for number, change in enumerate(changes)])
    return f"coco-keypoints:{root}"


def test_ordinary_persons_give_no_doubt(tmp_path: Path) -> None:
    assert told(of_coco(tmp_path, {}, {}, {})) == {}


def test_boxes_that_miss_the_joints(tmp_path: Path) -> None:
    text = told(of_coco(tmp_path, {}, {"bbox": [60, 1, 10, 10]}))["joints-outside-box-train"]
    assert "boxes of 1 of 2 persons of 'train' miss most of their labelled joints, of 1 all" in text
    assert "annotation 101 (p1.png): the box is x 60 to 70, y 0 to 10" in text


def test_boxes_far_larger_than_what_the_joints_span(tmp_path: Path) -> None:
    write_mpii(tmp_path, [mpii_person(n, scale=40.0, head_size=9.0) for n in range(3)])
    text = told(f"mpii:{tmp_path}")["boxes-too-large-train"]
    assert "533 times as large as what their joints span (in the middle of 3;" in text


@pytest.mark.parametrize("reader", ["coco", "mpii"])
def test_joints_at_the_corner(tmp_path: Path, reader: str) -> None:
    if reader == "coco":
        flat = [0, 0, 2, *coco_person(0)["keypoints"][3:]]
        spec = of_coco(tmp_path, {"keypoints": flat}, {"keypoints": flat}, {})
    else:
        places = [[0.0, 0.0], *mpii_person(0)["joints"][1:]]
        changes: list[dict[str, Any]] = [{"joints": places}, {"joints": places}, {}]
        write_mpii(tmp_path, [mpii_person(n, **change) for n, change in enumerate(changes)])
        spec = f"mpii:{tmp_path}"
    text = told(spec)["joints-at-corner-train"]
    assert "labelled at (0, 0), the image's corner (joint 0 for 2 of 3 persons; first " in text


def test_a_person_that_is_there_twice(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_person(0), coco_person(0), coco_person(1)])
    text = told(f"coco-keypoints:{tmp_path}")["persons-twice-train"]
    assert text.startswith("data: 1 person is in 'train' twice, with the same joints in the same")


def test_persons_without_joints_are_counted(tmp_path: Path) -> None:
    spec = of_coco(tmp_path, {}, {"keypoints": [0] * 51}, {"iscrowd": 1})
    assert "\ntrain: 2 more without a labelled joint, or crowds: not trained on" in (
        counted(spec).as_text()
    )


def test_corners_instead_of_sides_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [[n % 14, n % 14, 31 + n % 14, 31 + n % 14] for n in range(25)]
    told(of_coco(tmp_path, *({"bbox": box, "area": None} for box in boxes)))
    assert "its 25 boxes look like corners [x0, y0, x1, y1]" in caplog.text


def test_sides_that_only_two_names_together_say() -> None:
    joints = JointSet(("nose", "lshoulder", "rshoulder", "LHIP", "RHIP", "lid"), (), "AP")
    assert joints.flip_pairs == ((1, 2), (3, 4))
    assert joints.place("right", "shoulder") == 2
    assert mirror_findings(joints) == ()


@pytest.mark.parametrize(
    ("joints", "words"),
    [
        (JointSet(("a", "b"), (), "AP"), "no joint's name says a side ('a', 'b'), and no 'mirror'"),
        (JointSet(("left_ear", "b"), (), "AP"), "joints 'left_ear' name a side, and the other"),
        (
            JointSet(
                ("left_ear", "right_ear", "left_eye", "right_eye"), (), "AP", mirror=((0, 1),)
            ),
            "'mirror' leaves out joints 'left_eye', 'right_eye', which name a side",
        ),
    ],
)
def test_joints_that_a_mirror_would_confuse_are_told(joints: JointSet, words: str) -> None:
    (finding,) = mirror_findings(joints)
    assert finding.kind == "unpaired-joints"
    assert finding.text.startswith(f"data: {words}")
    assert mirror_findings(COCO) == ()
    assert mirror_findings(JointSet(("a", "b"), (), "AP", mirror=())) == ()


@pytest.mark.parametrize(
    "pairs", ["[[left_hip, right_hip], [left_hip, right_knee]]", "[[nose, nose]]"]
)
def test_a_joint_has_one_partner(tmp_path: Path, pairs: str) -> None:
    of_coco(tmp_path, {})
    (tmp_path / "d.yaml").write_text(f"reader: coco-keypoints\npath: .\nmirror: {pairs}\n")
    with pytest.raises(DataError, match=r"'mirror' names joint '\w+' twice; wanted each joint in"):
        open_data(str(tmp_path / "d.yaml"), "pose")


def test_whole_numbers_are_sigmas(tmp_path: Path) -> None:
    of_coco(tmp_path, {})
    text = f"reader: coco-keypoints\npath: .\nsigmas: [{', '.join(['1'] * 17)}]\n"
    (tmp_path / "d.yaml").write_text(text)
    assert len(open_data(str(tmp_path / "d.yaml"), "pose").split("train")) == 1
    (tmp_path / "d.yaml").write_text(text.replace("[1,", "[0,"))
    with pytest.raises(UsageError, match="wanted positive numbers, one per joint"):
        open_data(str(tmp_path / "d.yaml"), "pose")
