"""A folder stands for the ONNX file that a run ends with."""

from __future__ import annotations

from pathlib import Path

from fnac.passes.files import model_file


def test_a_folder_stands_for_what_its_run_ends_with(tmp_path: Path) -> None:
    assert model_file(tmp_path) == tmp_path
    (tmp_path / "start.onnx").write_bytes(b"")
    assert model_file(tmp_path) == tmp_path / "start.onnx"  # the only one
    (tmp_path / "other.onnx").write_bytes(b"")
    assert model_file(tmp_path) == tmp_path
    for name in ("target.onnx", "model.onnx"):  # of a tuning; of a whole run
        (tmp_path / name).write_bytes(b"")
        assert model_file(tmp_path) == tmp_path / name
    assert model_file(tmp_path / "start.onnx") == tmp_path / "start.onnx"
