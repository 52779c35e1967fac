"""What is installed: the wheel without the checkout, and fnac without torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    *("torch", "torchvision", "lightning_fabric", "torchmetrics", "faster_coco_eval"),
    *("matplotlib", "safetensors", "timm"),
)
WITHOUT = f"""
import importlib.util, sys
heavy, find_spec = {HEAVY!r}, importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in heavy else find_spec(name, *a)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise ModuleNotFoundError("No module named %r" % name, name=name)
sys.meta_path.insert(0, Absent())
from fnac.cli import run
for line in sys.stdin:
    print("exit", run(line.split()), flush=True)
"""
"""Runs the command lines of its input where the packages of training are not installed."""


def small_network(path: Path) -> Path:
    from tests.docs.stand_ins import seed

    seed(path)
    return path


def photos(folder: Path) -> None:
    from tests.docs.stand_ins import pictures

    pictures(folder, 8)


def test_the_slim_requirements_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    known = {text.partition(";")[0].strip().replace("-gpu", "") for text in declared}
    lines = (ROOT / "requirements-slim.txt").read_text().splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert listed < known
    left_out = {re.split("[>=]", text)[0].replace("-", "_") for text in known - listed}
    assert left_out == {*HEAVY} - {"timm"}


@pytest.mark.slow
def test_networks_are_looked_at_shrunk_and_verified_without_torch(tmp_path: Path) -> None:
    small_network(tmp_path / "a.onnx")
    photos(tmp_path / "photos")
    lines = [
        "--version --json",
        "inspect a.onnx",
        "profile a.onnx",
        "emit a.onnx -o b.onnx",
        "verify a.onnx b.onnx",
        "bench a.onnx b.onnx",
        "shrink a.onnx --data pictures:photos --effort 1 -o c.onnx",
        "emit a.onnx --int8 --data pictures:photos -o d.onnx",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input="\n".join([*lines, "adapt --task seg", "predict b.onnx photos"]),
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = re.findall(r"^exit (\d)$", done.stdout, flags=re.MULTILINE)
    assert codes == [*("0" for _ in lines), "2", "2"], done.stderr
    assert json.loads(done.stdout.splitlines()[0])["device"] == "cpu"
    said = "torch is not installed, and this command needs it; `pip install fnac` without --no-deps"
    assert done.stderr.count(f"fnac: {said}") == 2


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    """In an environment of its own, whose other packages are those of the tests."""
    source, wheels, home = tmp_path / "source", tmp_path / "wheels", tmp_path / "home"
    for part in ("fnac", "passes", "models"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True
    )
    (wheel,) = wheels.iterdir()
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    outer = [sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("site-packages"))]
    (packages / "others.pth").write_text("\n".join(dict.fromkeys(outer)))

    home.mkdir()
    small_network(home / "a.onnx")
    photos(home / "photos")
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def fnac(*words: str) -> str:
        command = [environment / "bin" / "fnac", *words]
        done = subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import fnac, fnac.passes.registry, fnac.models.bundled as b; print(fnac.__file__)"
    found = subprocess.run([python, "-c", where], cwd=home, env=clean, capture_output=True)
    assert found.stdout.decode().startswith(str(environment)), found.stderr
    assert json.loads(fnac("--version", "--json"))["fnac"]
    assert "--recipe" in fnac("adapt", "--help")
    assert "builtin-seg" in fnac("list", "recipes")
    fnac("profile", "a.onnx")
    fnac("inspect", "a.onnx")
    fnac("emit", "a.onnx", "-o", "b.onnx")
    assert "equal" in fnac("verify", "a.onnx", "b.onnx")
    fnac("shrink", "a.onnx", "--data", "pictures:photos", "--effort", "1", "-o", "c.onnx")
    scenes = ("--data", "scenes:train=16,val=4,size=64", "--size", "64x64")
    fnac("adapt", "--task", "seg", *scenes, "--set", "search.batch_size=4", "--dry-run")
    fnac("export", "bundled", "-o", "seed.onnx")
