"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_page_is_up_to_date(pages: ModuleType) -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == pages.settings_page()


def test_the_passes_page_is_up_to_date(pages: ModuleType) -> None:
    assert (ROOT / "docs" / "passes.md").read_text() == pages.passes_page()


def test_every_setting_has_a_meaning(pages: ModuleType) -> None:
    for section in pages.SECTIONS:
        for setting in pages.settings(section):
            assert setting.meaning, f"{section}.{setting.key}"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{p.relative_to(ROOT / 'docs')}" for p in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_design_page_has_a_line_for_every_folder() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    tree = page.split("<!-- tree -->")[1].split("<!-- end -->")[0]
    lines = dict(line.split(maxsplit=1) for line in tree.splitlines() if "/" in line)
    folders = {
        f"{path.parent.relative_to(ROOT)}/"
        for part in ("passes", "models", "fnac")
        for path in (ROOT / part).rglob("*/__init__.py")
    }
    assert folders
    assert lines.keys() == folders


def test_the_import_page_lists_the_operators() -> None:
    from fnac.importer.building.registry import names

    page = (ROOT / "docs" / "import.md").read_text()
    listed = page.split("<!-- operators -->")[1].split("<!-- end -->")[0]
    assert [word.strip() for word in listed.split(",")] == names()
