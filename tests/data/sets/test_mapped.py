"""A data set in the classes of a network that was made for another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fnac.data.sets.boxes import BoxDataset, BoxPicture, box_rows
from fnac.data.sets.mapped import BY_NAME, MappedSource, read_class_map, same_names
from fnac.data.source import Dataset
from fnac.errors import DataError, UsageError

DATA = ["road", "car", "sky"]
NETWORK = ["sky", "vehicle", "road"]


class Source:
    """A data set of one split."""

    name = "given"
    classes = DATA
    splits = ("val",)

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def split(self, name: str) -> Dataset:
        return self.dataset

    def check(self, splits: object = None) -> None:
        return None


class Samples:
    """Samples of these targets."""

    def __init__(self, *targets: torch.Tensor) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((3, 1, 4), index, dtype=torch.uint8), self.targets[index]

    def id(self, index: int) -> str:
        return str(index)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_says_which_class_is_which(tmp_path: Path) -> None:
    path = written(tmp_path / "map.yaml", "car: vehicle\n")
    assert read_class_map(path, DATA, NETWORK) == (2, 1, 0)
    assert read_class_map(BY_NAME, DATA, NETWORK) == (2, None, 0)
    assert read_class_map(written(tmp_path / "n.yaml", "sky:\n"), DATA, NETWORK)[2] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat: vehicle", "'cat' is not a class of the data set; it has road, car, sky"),
        ("car: lorry", "'lorry' is not a class of the network; it has sky, vehicle, road"),
        ("- car", "wanted lines of 'name in the data set: name in the network'"),
        ("a: [", "not a readable YAML file"),
        ("road:\ncar:\nsky:", "no class of the data set .* becomes one of the network"),
    ],
)
def test_wrong_maps_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_class_map(written(tmp_path / "map.yaml", text), DATA, NETWORK)
    with pytest.raises(UsageError, match="not a readable YAML file"):
        read_class_map(str(tmp_path / "none.yaml"), DATA, NETWORK)


def test_masks_in_other_classes() -> None:
    dataset = Samples(torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8))
    source = MappedSource(Source(dataset), NETWORK, (2, None, 0), "seg")
    image, mask = source.split("val")[0]
    assert (image.shape, mask.tolist()) == ((3, 1, 4), [[2, 255, 0, 255]])
    assert mask.dtype == torch.uint8


def test_images_of_classes_that_are_not_mapped_are_left_out() -> None:
    dataset = Samples(*(torch.tensor(i) for i in (1, 0, 2, 1)))
    mapped = MappedSource(Source(dataset), NETWORK, (2, None, 0), "cls").split("val")
    assert [(int(mapped[i][0][0, 0, 0]), int(mapped[i][1])) for i in range(len(mapped))] == [
        (1, 2), (2, 0),
    ]  # fmt: skip
    with pytest.raises(DataError, match="no image of split 'val'"):
        MappedSource(Source(Samples(torch.tensor(1))), NETWORK, (2, None, 0), "cls").split("val")


def test_boxes_keep_their_areas() -> None:
    boxes = box_rows([[0, 0, 2, 2, 0], [0, 0, 3, 3, 1], [1, 1, 2, 2, 2]])
    crowd = box_rows([[0, 0, 9, 9, 1], [0, 0, 8, 8, 2]])
    picture = BoxPicture(Path("a"), "1", (9, 9), boxes, np.array([4, 9, 1], "f4"), crowd)
    mapped = MappedSource(Source(BoxDataset((picture,))), NETWORK, (2, None, 0), "det").split("val")
    assert isinstance(mapped, BoxDataset)
    found = mapped.info(0)
    assert found.boxes.tolist() == [[0, 0, 2, 2, 2], [1, 1, 2, 2, 0]]
    assert (found.areas.tolist(), found.ignored.tolist()) == ([4, 1], [[0, 0, 8, 8, 0]])
    assert picture.ignored[1, 4] == 2  # the data set's own is as it was


def test_joints_cannot_be_mapped() -> None:
    with pytest.raises(UsageError, match="known for seg, cls and det"):
        MappedSource(Source(Samples()), NETWORK, (2, 1, 0), "pose").split("val")


def test_spelling_makes_no_other_class() -> None:
    assert same_names(["Traffic light", "bus"], ["traffic_light", "Bus"])
    assert not same_names(["bus", "car"], ["car", "bus"])
    assert not same_names(["bus"], ["bus", "car"])
