"""MATLAB files: what scipy writes is read, whatever else is refused, and nothing breaks."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fnac.data.matlab_files import read_matlab
from fnac.errors import DataError

JOINTS = np.random.default_rng(3).uniform(0, 90, (3, 14, 6))


def written(pressed: bool, **variables: object) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=pressed)
    return buffer.getvalue()


@pytest.mark.parametrize("pressed", [False, True])
@pytest.mark.parametrize(
    "kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
)  # fmt: skip
def test_arrays_of_every_kind(tmp_path: Path, kind: str, pressed: bool) -> None:
    array = JOINTS.astype(kind)
    path = tmp_path / "a.mat"
    path.write_bytes(written(pressed, note="text", cell=np.array(["a", 2], object), joints=array))
    found = read_matlab(path, "joints", "joints")
    assert found is not None
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert read_matlab(path, "heads", "heads") is None


def test_short_elements_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for array in (np.zeros((0, 3)), np.array([[7]], "i2"), np.array([[1, 2, 3]], "u1")):
        path.write_bytes(written(False, a=array))
        found = read_matlab(path, "a", "a")
        assert found is not None
        assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no header of version 5 to 7"),
        (b"\x89HDF\r\n" + bytes(200), r"of version 7.3, which is HDF5: save it with -v7"),
        (b"MATLAB 7.3 MAT-file" + bytes(200), "of version 7.3"),
        (written(False, joints=JOINTS)[:-40], "bytes are stated"),
        (written(False, joints=np.array([["a"]], object)), "is no array of real numbers"),
        (written(False, joints=JOINTS * 1j), "is no array of real numbers"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=rf"not a MATLAB file \(.*{reason}.*\); wanted joints"):
        read_matlab(tmp_path / "a.mat", "joints", "joints")


def test_a_variable_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnac.data.matlab_files.LARGEST", 1 << 12)
    (tmp_path / "a.mat").write_bytes(written(True, joints=np.zeros((3, 14, 1000))))
    with pytest.raises(DataError, match="larger than 1 GiB"):
        read_matlab(tmp_path / "a.mat", "joints", "joints")


def test_spoilt_files_are_read_or_refused(tmp_path: Path) -> None:
    files = [written(pressed, joints=JOINTS) for pressed in (False, True)]
    draw, path, read = random.Random(5), tmp_path / "a.mat", 0
    for number in range(2000):
        spoilt = bytearray(files[number % 2])
        if number % 5 == 0:
            spoilt = spoilt[: draw.randrange(len(spoilt))]
        for _ in range(draw.choice([1, 2, 5, 20])):
            if spoilt:
                place = draw.randrange(len(spoilt) if number % 3 else min(len(spoilt), 220))
                spoilt[place] = draw.randrange(256)
        path.write_bytes(bytes(spoilt))
        try:
            read += read_matlab(path, "joints", "joints") is not None
        except DataError:
            continue
    assert 200 < read < 1800
