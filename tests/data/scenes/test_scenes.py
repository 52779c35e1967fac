"""The built-in scenes: deterministic, disjoint, and consistent with their description."""

from __future__ import annotations

import hashlib

import numpy as np

from fnac.data import open_data
from fnac.data.scenes.describe import CLASSES, DECOYS, KEYPOINTS, KINDS, describe_scene
from fnac.data.scenes.render import fill_outline, render_scene


def test_scenes_are_the_same_everywhere() -> None:
    digest = hashlib.sha256()
    for number in range(20):
        for array in render_scene(describe_scene(0, number)):
            digest.update(array.tobytes())
    # Changes only with the generator itself; then say so in the CHANGELOG.
    assert digest.hexdigest()[:16] == "cef5b56f31276eef"


def test_description_and_picture_agree() -> None:
    seen = set()
    for number in range(60):
        scene = describe_scene(3, number, 80, 112)
        image, mask, numbers = render_scene(scene)
        assert image.shape == (3, 80, 112)
        assert mask.shape == numbers.shape == (80, 112)
        for k, item in enumerate(scene.objects, start=1):
            at = numbers == k
            assert (mask[at] == item.kind).all()
            if not at.any():
                continue
            seen.add(item.kind)
            rows, columns = np.nonzero(at)
            x0, y0, x1, y1 = item.box
            assert x0 - 1 <= columns.min()
            assert columns.max() <= x1
            assert y0 - 1 <= rows.min()
            assert rows.max() <= y1
            cx, cy = item.keypoints[0]
            assert x0 < cx < x1
            assert y0 < cy < y1
        assert ((mask > 0) == (numbers > 0)).all()
    assert seen == set(range(1, len(CLASSES)))


def test_classes_need_shape_and_texture() -> None:
    shapes = [shape for _, shape, _ in KINDS]
    textures = [texture for _, _, texture in KINDS]
    assert len(set(shapes)) < len(KINDS)
    assert len(set(textures)) < len(KINDS)
    assert len({(s, t) for _, s, t in KINDS}) == len(KINDS)
    assert not {(s, t) for _, s, t in KINDS} & set(DECOYS)
    for shape in set(shapes):
        assert any(decoy == shape for decoy, _ in DECOYS), shape


def test_fill_outline_of_a_rectangle() -> None:
    outline = np.array([(1.0, 1.0), (4.0, 1.0), (4.0, 3.0), (1.0, 3.0)])
    inside = fill_outline(outline, 0, 4, 0, 5)
    assert inside.astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_splits_are_disjoint_and_kept() -> None:
    source = open_data("scenes:train=40,val=20,test=8,size=48x64", random_seed=5)
    assert source.splits == ("train", "val", "test")
    pictures = [
        source.split(name)[i][0].numpy().tobytes()
        for name, count in (("train", 40), ("val", 20), ("test", 8))
        for i in range(count)
    ]
    assert len(set(pictures)) == 68
    assert source.split("train")[0][0].shape == (3, 48, 64)
    assert source.split("train")[3][0] is source.split("train")[3][0]
    other = open_data("scenes:train=40,size=48x64", random_seed=6).split("train")
    assert other[0][0].numpy().tobytes() not in pictures
    assert other.id(2) == "scene-6-2"


def test_default_is_the_built_in_scenes() -> None:
    source = open_data(None)
    source.check()
    assert (source.name, source.splits, len(source.classes)) == ("scenes", ("train", "val"), 8)
    assert len(source.split("train")) == 512


def test_background_leaves_room_for_every_class() -> None:
    counts = np.zeros(len(CLASSES))
    for number in range(150):
        counts += np.bincount(render_scene(describe_scene(0, number))[1].ravel(), minlength=8)
    share = counts / counts.sum()
    assert 0.6 < share[0] < 0.85
    assert share[1:].min() > 0.015


def test_boxes_are_those_of_the_outlines_inside_the_picture() -> None:
    source = open_data("scenes:train=30,val=1,size=64x80", "det")
    masks = open_data("scenes:train=30,val=1,size=64x80").split("train")
    assert source.classes == CLASSES[1:]
    data = source.split("train")
    assert sum(len(data[i][1]) for i in range(30)) > 30
    for i in range(30):
        image, boxes = data[i]
        mask = masks[i][1].numpy()
        assert np.array_equal(image.numpy(), masks[i][0].numpy())
        for x0, y0, x1, y1, label in boxes.tolist():
            assert 0 <= x0 < x1 <= 80
            assert 0 <= y0 < y1 <= 64
            inside = mask[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]
            assert (inside == label + 1).any()
        assert data.info(i).boxes.tolist() == boxes.tolist()  # type: ignore[attr-defined]


def test_figures_have_their_keypoints_on_themselves() -> None:
    source = open_data("scenes:train=30,val=1,size=64", "pose")
    assert source.classes == KEYPOINTS
    data = source.split("train")
    visible = hidden = 0
    for i in range(len(data)):
        figure = data.info(i)  # type: ignore[attr-defined]
        _, target = data[i]
        assert target.shape == (len(KEYPOINTS) + 2, 3)
        assert target[: len(KEYPOINTS)].numpy().tolist() == figure.joints.tolist()
        assert target[-2].tolist() == [*map(np.float32, figure.centre), 0]
        x0, y0, x1, y1 = figure.box  # a triangle's ends lie a little outside of it
        near = 0.2 * max(x1 - x0, y1 - y0)
        for x, y, seen in figure.joints.tolist():
            inside = x0 - near <= x <= x1 + near and y0 - near <= y <= y1 + near
            assert inside or not seen
            visible, hidden = visible + (seen == 2), hidden + (seen == 1)
    assert visible > 2 * hidden > 0


def test_crops_show_one_object_and_its_class() -> None:
    source = open_data("scenes:train=30,val=1,size=64", "cls")
    data, boxes = source.split("train"), open_data("scenes:train=30,val=1,size=64", "det")
    labels = [int(data[i][1]) for i in range(len(data))]
    wanted = [int(row[4]) for i in range(30) for row in boxes.split("train")[i][1]]
    assert labels == wanted
    assert len(source.classes) == len(KINDS) == 7
    assert min(min(data[i][0].shape[1:]) for i in range(len(data))) > 8
