"""Search spaces and recipes: what the files say, and what is wrong with a bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnac.adaptation.settings import AdaptSettings, EvalSettings
from fnac.config import build
from fnac.errors import UsageError
from fnac.models.errors import ModelError, SpaceError
from fnac.models.recipes import load_recipe, recipe_names
from fnac.models.seeds.find import find_seed
from fnac.models.spaces import load_space, space_for, space_names
from fnac.passes.blocks.candidate_names import read_name
from fnac.search.settings import SearchSettings
from fnac.stages.emit import EmitSettings
from fnac.stages.expand import ExpandSettings, mixing_pass
from fnac.stages.exporting.settings import ExportSettings
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import settings_kind
from tests.support.resnet_networks import resnet_network


@pytest.mark.parametrize(
    ("name", "layers"), [("mbconv-seg", 25), ("mbconv-det", 21), ("mbconv-pose", 21)]
)
def test_table_i(name: str, layers: int) -> None:
    space = load_space(name)
    assert space.depths is not None
    assert sum(space.depths) == layers
    assert space.candidates == ("k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6")
    assert space.skip


@pytest.mark.parametrize("name", ["fbnetc", "proxyless"])
def test_table_ix(name: str) -> None:
    space = load_space(name)
    assert space.depths == (4, 4, 4, 4, 4, 1)
    assert space.candidates == load_space("mbconv-det").candidates


def test_table_vii() -> None:
    space = load_space("resnet")
    assert space.candidates == ("k3g1", "k5g2", "k5g4", "k7g4", "k7g8")
    assert (space.depths, space.skip) == (None, False)
    assert load_space("resnet-depth").skip


def test_spaces_by_kind_and_task() -> None:
    assert space_names() == [
        "fbnetc", "mbconv", "mbconv-det", "mbconv-det-wide", "mbconv-pose", "mbconv-seg",
        "plain", "plain-depth", "proxyless", "resnet", "resnet-depth", "resnet-width",
    ]  # fmt: skip
    assert space_for(["mbconv"], "seg") == load_space("mbconv-seg")
    assert space_for(["mbconv"], None).depths is None
    assert space_for([], "cls") == load_space("mbconv")
    assert space_for(["basic"], "det") == load_space("resnet")
    assert space_for(["bottleneck"], None) == load_space("resnet")
    assert space_for(["plain"], "seg") == load_space("plain")
    assert space_for(["basic", "mbconv"], "pose") == load_space("mbconv-pose")
    with pytest.raises(SpaceError, match="task 'sing': no space is bundled for it"):
        space_for(["mbconv"], "sing")


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kernels: [3]\nexpansions: [2, 4]\nskip: false\n")
    space = load_space(file)
    assert (space.candidates, space.depths, space.skip) == (("k3e2", "k3e4"), None, False)
    assert space.name == str(file)
    file.write_text("candidates: [k3g1, k5g8, k3e2.5, k7]\ndepths: [2, 3]\n")
    space = load_space(file)
    assert (space.candidates, space.depths) == (("k3g1", "k5g8", "k3e2.5", "k7"), (2, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kernels: [3]\nexpansions: [3]\nwidths: [1]",
            "field 'widths' is not known; there are: candidates, d",
        ),
        ("kernels: [3]", "expansions not given; wanted a list of numbers"),
        ("kernels: [4]\nexpansions: [3]", r"kernels \[4\]; wanted odd sizes"),
        ("kernels: 3\nexpansions: [3]", "kernels 3; wanted a list of whole numbers"),
        ("kernels: [3, 3]\nexpansions: [3]", r"kernels \[3, 3\]; wanted one or more, each once"),
        ("kernels: [3]\nexpansions: [3]\ndepths: [0]", r"depths \[0\]; wanted 1 or more layers"),
        ("kernels: [3]\nexpansions: [3]\nskip: maybe", "skip 'maybe'; wanted true or false"),
        ("kernels: [3]\nexpansions: [wide]", r"expansions \['wide'\]; wanted a list of numbers"),
        ("candidates: 3", "candidates 3; wanted a list of names like k5e6"),
        ("candidates: []", r"candidates \[\]; wanted one or more, each once"),
        ("candidates: [k3, k3]", r"candidates \['k3', 'k3'\]; wanted one or more, each once"),
        ("candidates: [k3]\nkernels: [3]", "candidates and kernels; wanted the names, or kernels"),
        ("- 3", "list was found; wanted fields and values"),
        ("a: [", "not a YAML file"),
    ],
)
def test_a_bad_space_is_explained(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError, match=rf"bad\.yaml: {message}"):
        load_space(file)


@pytest.mark.parametrize("name", space_names())
def test_the_compiler_reads_every_bundled_candidate(name: str) -> None:
    for candidate in load_space(name).candidates:
        assert read_name(candidate).kernel % 2


@pytest.mark.parametrize("candidate", ["k4g1", "kup2", "wide", "skip", "k3e"])
def test_a_candidate_that_means_nothing_is_explained(tmp_path: Path, candidate: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"candidates: [k3g1, {candidate}]")
    with pytest.raises(
        UsageError, match=rf"--space .*bad\.yaml: candidate '{candidate}': wanted k5e6 "
    ):
        mixing_pass(resnet_network(), ExpandSettings(space=str(file)))


def test_fractions_of_an_expansion(tmp_path: Path) -> None:
    file = tmp_path / "fine.yaml"
    file.write_text("kernels: [3, 5]\nexpansions: [3, 3.5]\n")
    assert load_space(file).candidates == ("k3e3", "k3e3.5", "k5e3", "k5e3.5")


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(SpaceError, match=r"space 'big': neither bundled \(fbnetc, mbconv, "):
        load_space("big")


@pytest.mark.parametrize("name", recipe_names())
def test_the_settings_of_a_recipe_are_settings(name: str) -> None:
    recipe = load_recipe(name)
    build(settings_kind(recipe["expand"]["task"]), recipe.pop("task", {}), "task")
    kinds: dict[str, type[Any]] = {
        "adapt": AdaptSettings,
        "export": ExportSettings,
        "expand": ExpandSettings,
        "search": SearchSettings,
        "tune": TuneSettings,
        "emit": EmitSettings,
        "eval": EvalSettings,
    }
    made = {section: build(kinds[section], values, section) for section, values in recipe.items()}
    assert made["search"].batch_size == recipe["search"]["batch_size"]
    if name.startswith("builtin-"):
        assert made["expand"].space == "auto"  # they are what any seed is adapted with
    else:
        load_space(made["expand"].space)
    find_seed(made["export"].seed)


def test_an_unknown_recipe_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="recipe 'soup': no such recipe; there are: builtin-cls, "):
        load_recipe("soup")
    (tmp_path / "r.yaml").write_text("search: 3")
    with pytest.raises(ModelError, match=r"r\.yaml: wanted a section of keys for each stage"):
        load_recipe(tmp_path / "r.yaml")
