"""The floors of the building: who may import whom, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fnac.passes.registry import PASSES, resolve

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "adapt bench derive emit eval expand export inspect profile report run-pass search tune verify"
).split()


def imports(path: Path) -> list[tuple[str, int]]:
    """Return (module, relative level) of every import statement of a file."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", ["passes", "models"])
def test_lower_floors_import_nothing_of_the_project_absolutely(folder: str) -> None:
    for path in files(folder):
        for module, level in imports(path):
            first = module.split(".")[0]
            assert level > 0 or first not in ("fnac", "passes", "models"), f"{path}: {module}"


@pytest.mark.parametrize("folder", ["passes", "models"])
def test_lower_floors_do_not_climb_out_of_themselves(folder: str) -> None:
    for path in files(folder):
        depth = len(path.relative_to(ROOT / folder).parts)
        for module, level in imports(path):
            assert level <= depth, f"{path}: from {'.' * level}{module}"


def test_passes_know_no_torch() -> None:
    for path in files("passes"):
        heavy = {m.split(".")[0] for m, level in imports(path) if level == 0}
        assert not heavy & {"torch", "torchvision", "lightning_fabric", "click"}, path


def test_models_rewrite_no_graphs() -> None:
    for path in files("models"):
        heavy = {m.split(".")[0] for m, level in imports(path) if level == 0}
        assert not heavy & {"onnx_graphsurgeon", "onnxruntime", "click"}, path


def test_only_the_graph_door_reads_and_writes_onnx_files() -> None:
    # sessions.py writes a temporary file, for onnxruntime takes no model over 2 GB from memory
    doors = {ROOT / "passes" / "graph" / "graph.py", ROOT / "passes" / "running" / "sessions.py"}
    for folder in ("passes", "fnac"):
        for path in files(folder):
            text = path.read_text()
            uses = any(call in text for call in ("onnx.load(", "onnx.save(", "onnx.save_model("))
            assert path in doors or not uses, path


def test_starting_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, fnac, fnac.cli\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnx_graphsurgeon', 'torchvision', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_in_the_table_resolves(name: str) -> None:
    found = resolve(name)
    if isinstance(found, tuple):
        assert found
        assert all(one.name for one in found)
    else:
        assert found.name == name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    from click.testing import CliRunner

    from fnac.cli import cli

    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_the_contract_names_every_command() -> None:
    from fnac.cli import cli

    assert sorted(cli.commands) == sorted(COMMANDS)


def test_every_package_is_installed() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"fnac": "fnac", "models": "fnac.models", "passes": "fnac.passes"}
    found = set()
    for top, package in folders.items():
        for path in (ROOT / top).rglob("__init__.py"):
            inner = path.parent.relative_to(ROOT / top).parts
            found.add(".".join([package, *inner]))
    assert set(settings["packages"]) == found
