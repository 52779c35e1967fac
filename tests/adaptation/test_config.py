from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from fnac.config import build, differing, gather, parse_assignment, parse_size
from fnac.errors import UsageError
from fnac.passes.errors import PipelineError
from fnac.passes.registry import parse_pipeline
from fnac.stages.tune_settings import TuneSettings


@dataclasses.dataclass(frozen=True)
class Example:
    epochs: int = 3
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"
    size: tuple[int, int] | None = None
    kernels: tuple[int, ...] = (3,)
    out: Path | None = None
    quick: bool = False
    mean: tuple[float, float, float] | None = None


def test_of_a_settings_object_what_differs_from_the_defaults_counts() -> None:
    """So that an object beside a recipe leaves the recipe's other values alone."""
    assert differing(TuneSettings(epochs=3, lr=0.5)) == {"epochs": 3, "lr": 0.5}
    assert differing(TuneSettings()) == differing(None) == {}
    assert differing({"epochs": 12}) == {"epochs": 12}


def test_later_sources_win_and_none_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("tune: {epochs: 5, rate: 1e-3}\n")
    merged = gather(
        recipe={"tune": {"epochs": 4, "kind": "b"}},
        file=file,
        assignments=["tune.kernels=[3, 5]"],
        options={"tune": {"epochs": None, "size": (4, 6)}},
    )
    made = build(Example, merged["tune"], "tune")
    assert made == Example(epochs=5, rate=1e-3, kind="b", size=(4, 6), kernels=(3, 5))


@pytest.mark.parametrize(
    ("section", "why"),
    [
        (
            {"epoch": 1},
            r"tune\.epoch: no such setting; did you mean 'epochs'\?; known: epochs, kernels",
        ),
        ({"epochs": "many"}, r"tune\.epochs: 'many' was found; wanted a whole number"),
        ({"epochs": True}, r"tune\.epochs: True was found; wanted a whole number"),
        ({"epochs": None}, r"tune\.epochs: nothing was found; wanted a whole number"),
        ({"kind": "c"}, r"tune\.kind: 'c' was found; wanted one of a, b"),
        (
            {"size": [1, 2, 3]},
            r"\[1, 2, 3\] was found; wanted two whole numbers, e\.g\. 96x128 or null",
        ),
        ({"size": "96 by 128"}, r"tune\.size: '96 by 128' was found; wanted two whole numbers"),
        ({"rate": "fast"}, r"tune\.rate: 'fast' was found; wanted a number"),
        ({"mean": 0.5}, r"tune\.mean: 0\.5 was found; wanted three numbers, e\.g\. 0\.5,0\.5,0\.5"),
        ({"kernels": ["big"]}, r"tune\.kernels: 'big' was found; wanted a whole number"),
        ({"quick": "maybe"}, r"tune\.quick: 'maybe' was found; wanted true or false"),
    ],
)
def test_a_wrong_setting_is_named(section: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        build(Example, section, "tune")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("size=96x128", {"size": (96, 128)}),
        ("size=96,128", {"size": (96, 128)}),
        ("size=[96, 128]", {"size": (96, 128)}),
        ("mean=0.5,0.5,.25", {"mean": (0.5, 0.5, 0.25)}),
        ("kernels=3,5", {"kernels": (3, 5)}),
        ("kernels=3", {"kernels": (3,)}),
        ("out=~/run", {"out": Path.home() / "run"}),
        ("rate=1e-3", {"rate": 1e-3}),
    ],
)
def test_a_setting_may_be_written_as_its_option(said: str, meant: dict[str, object]) -> None:
    merged = gather(assignments=[f"tune.{said}"])
    assert build(Example, merged["tune"], "tune") == Example(**meant)  # type: ignore[arg-type]


def test_a_slip_in_a_section_is_answered_with_the_closest() -> None:
    with pytest.raises(UsageError, match="tuen: no such section of settings; did you mean 'tune'"):
        gather(assignments=["tuen.lr=1"])


@pytest.mark.parametrize("text", ["tune", "tune=3", "epochs=3", "=3"])
def test_set_wants_section_key_value(text: str) -> None:
    with pytest.raises(UsageError, match=r"wanted section\.key=value"):
        parse_assignment(text)


def test_a_configuration_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("- 1\n")
    with pytest.raises(UsageError, match="list was found; wanted a mapping of sections"):
        gather(file=file)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("180x240", (180, 240)),
        ("180X240", (180, 240)),
        ("96,128", (96, 128)),
        ("96 x 128", (96, 128)),
        ("96 128", (96, 128)),
        ("64", (64, 64)),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["64x", "x64", "big", "0x64", "-96x128", "1x2x3", "9.5x8", ""])
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match=r"wanted two whole numbers, e\.g\. 96x128"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the pipeline is empty"),
        ("sparkle", "no pass is called 'sparkle'; known: .*widen-kernel"),
        ("widen-kernel{size=3}", "widen-kernel: no argument 'size=3'; arguments: kernel"),
        ("widen-kernel{kernel=big}", "widen-kernel: kernel='big' was given; wanted int"),
        ("widen-kernel{kernel=5", "cannot read"),
        ("normalize{x=1}", "normalize: takes no arguments"),
    ],
)
def test_a_wrong_pipeline_is_explained(text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        parse_pipeline(text)


def test_a_pipeline_is_read_in_order() -> None:
    passes = parse_pipeline("widen-kernel{kernel=7}, clean")
    assert [p.name for p in passes] == ["widen-kernel", "clean"]
    assert passes[0].kernel == 7  # type: ignore[attr-defined]
