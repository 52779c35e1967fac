"""The runner of the cases beside the checkout knows what they import by earlier names."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run_case import MOVED

RUNNER = Path(__file__).parent / "support" / "run_case.py"
CASES = Path(__file__).resolve().parents[1].parent / "shared" / "cases"


def test_a_case_finds_a_module_by_the_name_of_then_and_its_exit_code_is_kept(
    tmp_path: Path,
) -> None:
    case = tmp_path / "case.py"
    case.write_text(
        "import sys\nfrom pathlib import Path\nfrom fnac.passes.anchors import AnchorSpec\n"
        "assert Path(__file__).name == 'case.py'\n"
        "assert AnchorSpec.__module__ == 'fnac.passes.emit.anchors'\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    for code in (0, 7):
        done = subprocess.run([sys.executable, RUNNER, case, str(code)], capture_output=True)
        assert done.returncode == code, done.stderr


def test_every_module_is_where_it_is_said_to_be() -> None:
    for before, now in MOVED.items():
        assert importlib.import_module(now)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(before)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases do not lie beside this checkout")
def test_no_case_imports_what_is_not_there() -> None:
    for case in sorted(CASES.glob("*/case.py")):
        for line in case.read_text().splitlines():
            if line.startswith("from fnac"):
                name = line.split()[1]
                assert importlib.import_module(MOVED.get(name, name)), case
