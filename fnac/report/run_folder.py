"""Read a run folder (docs/design.md): any of its files may be missing, none may stop the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fnac.architectures.arch_file import ArchFile, parse_arch
from fnac.errors import FnacError, UsageError
from fnac.findings import read_findings
from fnac.passes.graph.graph import manifest_of
from fnac.report.network import Network, read_hidden, read_network

T = TypeVar("T")

ONNX_FILES = ("seed.onnx", "super.onnx", "target.onnx", "model.onnx")
MARKS = (
    "config.yaml", "results.json", "ledger.json", "search/metrics.csv", "tune/metrics.csv",
)  # fmt: skip
"""Files that make a folder a run; networks, architectures and profiles lie in others, too."""


@dataclass(frozen=True)
class Curve:
    """The columns of a metrics CSV: numbers, None where a cell is blank; text in `words`."""

    numbers: Mapping[str, list[float | None]]
    words: Mapping[str, list[str]]
    rows: int

    def points(self, x: str, y: str, **where: str) -> tuple[list[float], list[float]]:
        """Pairs of two columns where both are there, and where `where`'s columns say so."""
        xs, ys = self.numbers.get(x, []), self.numbers.get(y, [])
        pairs = [
            (a, b)
            for row, (a, b) in enumerate(zip(xs, ys))
            if a is not None
            and b is not None
            and all(self.words[key][row] == word for key, word in where.items())
        ]
        return [a for a, _ in pairs], [b for _, b in pairs]

    def last(self, column: str) -> float | None:
        """The last value of a column; None if it has none."""
        return next((v for v in reversed(self.numbers.get(column, [])) if v is not None), None)


@dataclass(frozen=True)
class RunFolder:
    """The content of a run folder; None where a part is absent or not readable (see `problems`)."""

    path: Path
    config_text: str | None
    config: Mapping[str, Any]
    env: Any
    results: Mapping[str, Any]
    profile: Mapping[str, Any]
    arch: tuple[str, ...] | None
    ledger: tuple[Mapping[str, Any], ...] | None
    network: Network | None
    manifest: Mapping[str, Any]
    search: Curve | None
    alphas: Mapping[str, Mapping[str, float]] | None
    tune: Curve | None
    predictions: tuple[Path, ...]
    predicted: Mapping[str, Any]
    times: Mapping[str, float]
    speed: Mapping[str, Any]
    candidates: tuple[Mapping[str, str], ...]
    widths: list[tuple[str, int, int]]
    problems: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether it is a run of one stage alone, `fnac tune` or `search`."""
        return bool({"tune", "search"} & self.config.keys()) and "derive" not in self.config

    @property
    def searches(self) -> bool:
        """Whether the run has a search by alphas: its strategy decides."""
        adapt = self.config.get("adapt") or {}
        return adapt.get("strategy", "diff") in ("diff", "evolve")


def read_run_folder(path: Path) -> RunFolder:
    """Read a run folder; raises UsageError if it is none (no such folder, or none of MARKS)."""
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; wanted a run folder (runs/NAME)")
    if not any((path / name).exists() for name in MARKS):
        raise UsageError(
            f"{path}: none of the files of a run is here ({', '.join(MARKS)}); "
            "wanted a folder that `fnac adapt`, `search` or `tune` wrote"
        )
    problems: list[str] = []

    def part(name: str, read: Callable[[Path], T]) -> T | None:
        """Read one file; a broken one is named among the problems."""
        file = path / name
        if not file.exists():
            return None
        try:
            return read(file)
        except (FnacError, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{name}: not readable ({error})")
            return None

    network = part("super.onnx", read_network)
    manifest: Mapping[str, Any] = network.manifest if network else {}
    for name in ("model.onnx", "target.onnx", "seed.onnx"):
        manifest = manifest or part(name, manifest_of) or {}
    arch_file = part("arch.json", lambda file: parse_arch(_read_json(file)))
    arch = None
    try:
        arch = None if arch_file is None else _in_network_order(arch_file, network)
    except FnacError as error:
        problems.append(f"arch.json: does not fit super.onnx ({error})")
    return RunFolder(
        path=path,
        config_text=part("config.yaml", lambda file: file.read_text(encoding="utf-8")),
        config=part("config.yaml", _read_yaml) or {},
        env=part("env.json", _read_json),
        results=part("results.json", _read_results) or {},
        profile=part("profile.json", _read_mapping) or {},
        arch=arch,
        ledger=part("ledger.json", _read_ledger),
        network=network,
        manifest=manifest,
        search=part("search/metrics.csv", lambda file: _read_curve(file, ("phase", "kind"))),
        alphas=part("search/alphas.csv", _read_final_alphas),
        tune=part("tune/metrics.csv", lambda file: _read_curve(file, ())),
        predictions=tuple(sorted((path / "pictures").glob("prediction_*.png"))),
        predicted=part("pictures/predictions.json", _read_mapping) or {},
        times=part("times.json", _read_mapping) or {},
        speed=part("speed.json", _read_mapping) or {},
        candidates=part("search/candidates.csv", _read_rows) or (),
        widths=_widths(part("baseline.onnx", read_hidden), arch_file),
        problems=tuple(dict.fromkeys(problems)),
    )


def _widths(before: Mapping[str, int] | None, arch: ArchFile | None) -> list[tuple[str, int, int]]:
    """Return block, hidden channels of the seed and of the target, where these were chosen."""
    if not before or arch is None or arch.names is None:
        return []
    chosen = zip(arch.names, arch.choices, strict=True)
    return [
        (name, before[name], int(choice[1:]))
        for name, choice in chosen
        if name in before and choice[:1] == "c" and choice[1:].isdigit()
    ]


def _read_rows(file: Path) -> tuple[Mapping[str, str], ...]:
    with file.open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _read_mapping(file: Path) -> Mapping[str, Any]:
    content = _read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__}; wanted a JSON object")
    return content


def _read_results(file: Path) -> Mapping[str, Any]:
    """Results as they are; findings among them must be findings."""
    content = _read_mapping(file)
    read_findings(content)
    return content


def _read_yaml(file: Path) -> Mapping[str, Any]:
    import yaml

    from fnac.models.yaml_text import load_yaml

    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    return content if isinstance(content, dict) else {}


def _in_network_order(arch: ArchFile, network: Network | None) -> tuple[str, ...]:
    """Return one choice per layer; without a super network to check them, in file order."""
    if network is None:
        return arch.choices
    indices = arch.indices(network.layers)
    return tuple(layer.names[i] for layer, i in zip(network.layers, indices, strict=True))


def _read_ledger(file: Path) -> tuple[Mapping[str, Any], ...]:
    content = _read_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError("wanted a list of entries, one per pass")
    return tuple(content)


def _read_curve(file: Path, words: tuple[str, ...]) -> Curve:
    """Read a metrics CSV; a last line cut short by a killed run counts as blank cells."""
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        columns = list(reader.fieldnames or [])
    return Curve(
        numbers={
            column: [_number(row.get(column)) for row in rows]
            for column in columns
            if column not in words
        },
        words={column: [row.get(column) or "" for row in rows] for column in words},
        rows=len(rows),
    )


def _read_final_alphas(file: Path) -> Mapping[str, Mapping[str, float]]:
    """Probabilities at the last step logged: layer -> candidate -> probability."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [(row, _number(row.get("probability"))) for row in csv.DictReader(stream)]
    complete = [(row, number) for row, number in rows if number is not None]
    final: dict[str, dict[str, float]] = {}
    for row, probability in complete:  # later steps overwrite earlier ones
        final.setdefault(row["layer"], {})[row["candidate"]] = probability
    return final


def _number(cell: str | None) -> float | None:
    """A cell as a number; None if blank, cut short or not finite."""
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
