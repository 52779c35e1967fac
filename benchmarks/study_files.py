"""Networks as files that others exported, through every stage: one row a file, as a table.

    python benchmarks/study_files.py FOLDER [-o docs/evidence/files.md] [--only NAME ...]

For every ONNX file in FOLDER: it is inspected; its multiply-adds (torch's counter beside them where
it says otherwise) and parameters are counted; it is
imported and compared with onnxruntime, at a batch of one and, two images against one and one, of
two; expanded, the seed derived out of the super network and verified against the file; emitted,
beside onnxslim's file where that is installed (its package or ``PYTHONPATH``); and one step of
training is taken. Each file has a process of its own. What is refused is written as it is said.

Times are of the file, the emitted one and onnxslim's, in turn. Two files of the same nodes may
differ by a tenth on a machine that does other things as well, so the nodes that onnxruntime runs
in the end, after its own optimisation, stand beside the times.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from studies import write_table
from torch.utils.flop_counter import FlopCounterMode

from fnac.adaptation.single_stages import expand_graph
from fnac.errors import FnacError
from fnac.importer import import_onnx
from fnac.inspection.inspect import InspectSettings, inspect_file
from fnac.inspection.profile import ProfileSettings, profile_file
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import random_feed, run
from fnac.passes.running.verify import compare
from fnac.passes.stored_layers import read_layers
from fnac.stages.derive import DeriveSettings, derive
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.expand import ExpandSettings
from fnac.stages.opening.canonical import take_pictures
from fnac.stages.opening.pairs import check_pair

HEADER = (
    *("network", "inspect", "MAdds", "parameters", "import: worst difference", "batch of two"),
    *("layers with a choice", "derived seed", "emit: size beside onnxslim's", "time beside it"),
    *("step of training",),
)
CLOSE = 1e-4  # of the largest output: what two runtimes' float noise explains
CLOSE_IN_HALF = 1e-2  # of a network that computes in float16, whose numbers are 1e-3 apart
FLOOR = 1e-2  # of probabilities that are all next to nothing, runtimes have no digits
SECONDS = 300  # that one file may take, unless --seconds says otherwise
ANY = (224, 224)  # what files of any size are given
RUNS = range(25, 400)  # timed runs of each file, in turn, at least and at most; the shortest counts
TIMED = 10e9  # ns of processor time for all timed runs, beyond the least number of them


class Row:
    """What one file gave, stage by stage; a stage that refuses says so and the next one goes on."""

    def __init__(self, path: Path, folder: Path, *, quick: bool) -> None:
        self.path, self.folder, self.quick = path, folder, quick
        self.found: dict[str, Any] = {"network": path.stem}
        self.size: tuple[int, int] | None = None

    def take(self) -> dict[str, Any]:
        """Run every stage; return the cells by column."""
        self._stage(("inspect",), self._inspect)
        self._stage(("MAdds", "parameters"), self._profile)
        self._stage(("import: worst difference",), self._import)
        self._stage(("batch of two",), self._two)
        self._stage(("layers with a choice",), self._expand)
        self._stage(("derived seed",), self._derive)
        self._stage(("emit: size beside onnxslim's", "time beside it"), self._emit)
        self._stage(("step of training",), self._step)
        return self.found

    def _stage(self, columns: tuple[str, ...], run_it: Callable[[], tuple[str, ...]]) -> None:
        start = time.monotonic()
        try:
            cells = run_it()
        except FnacError as error:
            words = str(error).replace(f"{self.path}: ", "").replace(f"{self.folder}/", "")
            cells = (f"refused: {words}", *[""] * (len(columns) - 1))
        except Exception as error:  # a bug is an entry of the table, and the files go on
            cells = (f"BUG: {type(error).__name__}: {error}", *[""] * (len(columns) - 1))
        self.found.update(zip(columns, cells, strict=True))
        self.found.setdefault("seconds", {})[columns[0]] = round(time.monotonic() - start, 1)

    def _inspect(self) -> tuple[str, ...]:
        seen = inspect_file(self.path, InspectSettings())
        if Graph.load(self.path).image_size() is None:
            self.size = ANY
        return (f"{len(seen.blocks)} blocks",)

    def _profile(self) -> tuple[str, ...]:
        counted, _ = profile_file(self.path, ProfileSettings(self.size))
        graph = Graph.load(self.path)
        feed = [torch.from_numpy(a) for a in _one(random_feed(graph, self.size)).values()]
        module = import_onnx(graph.to_model()).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*feed)
        flops = counter.get_total_flops() // 2
        beside = "" if flops == counted.madds else f" (torch's counter: {flops:,})"
        return f"{counted.madds:,}{beside}", f"{counted.params:,}"

    def _import(self) -> tuple[str, ...]:
        graph = Graph.load(self.path)
        feed = random_feed(graph, self.size)
        module, theirs = import_onnx(graph.to_model()).eval(), list(run(graph, feed).values())
        gap = _worst(_answers(module, feed), theirs)
        if any(array.dtype == np.float16 for array in feed.values()):
            return (f"{_said(gap, CLOSE_IN_HALF)}, in float16",)
        if gap > CLOSE:
            ours = _answers(module, feed)
            exact = _answers(module.double(), {n: a.astype(np.float64) for n, a in feed.items()})
            here, there = _worst(ours, exact), _worst(theirs, exact)
            if here <= 2 * there < 2 * gap:  # neither runtime is nearer to the truth
                return (f"{gap:.0e}; from float64 {here:.0e}, onnxruntime {there:.0e}",)
        return (_said(gap),)

    def _two(self) -> tuple[str, ...]:
        graph = Graph.load(self.path)
        apart = [_one(random_feed(graph, self.size, random_seed=seed)) for seed in (0, 1)]
        both = {name: np.concatenate([one[name] for one in apart]) for name in apart[0]}
        module = import_onnx(graph.to_model()).eval()
        check_pair(module, graph)  # as tune does
        gap = _gap_of_two(module, apart, both)
        if gap > CLOSE:  # float noise of a network that enlarges it?
            wide = [{n: a.astype(np.float64) for n, a in feed.items()} for feed in (*apart, both)]
            return (f"{gap:.0e}; in float64 {_gap_of_two(module.double(), wide[:2], wide[2]):.0e}",)
        return (_said(gap),)

    def _expand(self) -> tuple[str, ...]:
        made, _ = expand_graph(Graph.load(self.path), ExpandSettings(), verify=not self.quick)
        made.save(self.folder / "super.onnx")
        return (str(len(read_layers(made.manifest))),)

    def _derive(self) -> tuple[str, ...]:
        if not (self.folder / "super.onnx").exists():
            return ("",)
        back = self.folder / "back.onnx"
        how = DeriveSettings(verify=not self.quick)
        derive(self.folder / "super.onnx", back, how, arch="seed")
        seed = Graph.load(self.path)
        take_pictures(seed, PassManager(verify=False))  # as expand does: float32, channels first
        same = compare(seed, Graph.load(back), size=self.size)
        return ("equal" if same.equal else f"DIFFERENT: {same.detail or same.max_abs_diff}",)

    def _emit(self) -> tuple[str, ...]:
        out = self.folder / "emitted.onnx"
        emit(self.path, out, EmitSettings(no_verify=self.quick, size=self.size))
        size = f"{self.path.stat().st_size / 1e3:,.0f} -> {out.stat().st_size / 1e3:,.0f} kB"
        files = [self.path, out]
        slim = self.folder / "slim.onnx"
        why_not = _why_not_slimmed(self.path, slim)
        if why_not is None:
            files.append(slim)
        size += f" ({why_not or format(slim.stat().st_size / 1e3, ',.0f')})"
        if self.quick:
            return size, ""
        least = _least_times(files, _one(random_feed(Graph.load(self.path), self.size)))
        times = " ".join(f"{one / least[0]:.2f}" for one in least[1:])
        run_by_it = [_nodes_that_run(file, self.folder / "optimised.onnx") for file in files]
        return size, f"{times} ({' '.join(str(sum(nodes.values())) for nodes in run_by_it)} nodes)"

    def _step(self) -> tuple[str, ...]:
        back = self.folder / "back.onnx"
        graph = Graph.load(back if back.exists() else self.path)
        module = import_onnx(graph.to_model())
        check_pair(module, graph)
        module.train()
        apart = [_one(random_feed(graph, self.size, random_seed=seed)) for seed in (0, 1)]
        both = [np.concatenate([one[name] for one in apart]) for name in apart[0]]
        made = module(*[torch.from_numpy(array) for array in both])
        outputs = made if isinstance(made, tuple) else (made,)
        loss = torch.stack([o.square().mean() for o in outputs if o.is_floating_point()]).sum()
        loss.backward()
        parameters = list(module.parameters())
        reached = sum(p.grad is not None for p in parameters)
        moved = all(torch.isfinite(p.grad).all() for p in parameters if p.grad is not None)
        return (f"{reached} / {len(parameters)}{'' if moved else ', not finite'}",)


def _one(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[:1] for name, array in feed.items()}


def _answers(module: torch.nn.Module, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        made = module(*[torch.from_numpy(array) for array in feed.values()])
    return [one.numpy() for one in (made if isinstance(made, tuple) else (made,))]


def _least_times(files: list[Path], feed: dict[str, np.ndarray]) -> list[float]:
    """Return the least processor time of a run of each file, in turn, in ns.

    Of a machine that does other things as well it is what the file itself costs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    sessions = [
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for file in files
    ]
    least = [float("inf")] * len(files)
    begun = time.process_time_ns()
    for done in range(RUNS.stop):
        if done >= RUNS.start and time.process_time_ns() - begun > TIMED:
            break
        for place, session in enumerate(sessions):
            fed = {i.name: array for i, array in zip(session.get_inputs(), feed.values())}
            start = time.process_time_ns()
            session.run(None, fed)
            least[place] = min(least[place], time.process_time_ns() - start)
    return least


def _nodes_that_run(file: Path, out: Path) -> Counter[str]:
    """Return operator -> nodes of it in the graph that onnxruntime makes of a file and runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(out, load_external_data=False).graph.node)


def _gap_of_two(
    module: torch.nn.Module, apart: list[dict[str, np.ndarray]], both: dict[str, np.ndarray]
) -> float:
    """Return how far the answers to two images at once are from those to each by itself."""
    singles = [_answers(module, one) for one in apart]
    joined = [np.concatenate(pair) for pair in zip(*singles, strict=True)]
    return _worst(_answers(module, both), joined)


def _worst(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Return the largest difference of an output, relative to its largest number or ``FLOOR``."""
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if mine.shape != other.shape:
            return float("inf")
        if other.size:
            gap = np.abs(mine.astype(np.float64) - other.astype(np.float64)).max()
            worst = max(worst, float(gap / max(float(np.abs(other).max()), FLOOR)))
    return worst


def _said(worst: float, close: float = CLOSE) -> str:
    return f"{worst:.0e}" if worst <= close else f"DIFFERENT: {worst:.0e}"


def _why_not_slimmed(path: Path, out: Path) -> str | None:
    """Let onnxslim write its file; say why it did not."""
    try:
        import onnxslim
    except ImportError:
        return "onnxslim is not installed"
    try:
        onnx.save(onnxslim.slim(onnx.load(path)), out)
    except Exception as error:  # whatever another tool ends in is its answer, one file of many
        return f"onnxslim: {type(error).__name__}: {error}"
    return None


def _in_a_process(path: Path, sink: Any, quick: bool) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        sink.send(Row(path, Path(folder), quick=quick).take())


def row(path: Path, *, quick: bool, seconds: float) -> dict[str, Any]:
    """Return the cells of one file by column, from a process of its own."""
    source, sink = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_in_a_process, args=(path, sink, quick))
    process.start()
    sink.close()
    try:
        found = source.recv() if source.poll(seconds) else {"inspect": f"BUG: over {seconds:g} s"}
    except EOFError:
        found = {"inspect": "BUG: the process died"}
    if process.is_alive():
        process.terminate()
    process.join()
    return {"network": path.stem, **found}


def main() -> None:
    """Print the table, and write it if asked to; FILE.json beside it keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", nargs="*", help="names of files")
    parser.add_argument("--rows", type=Path, help="JSON lines, one a file, as they come")
    parser.add_argument("--quick", action="store_true", help="neither proofs nor timing")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that one file may take")
    given = parser.parse_args()
    named = given.only
    files = [p for p in sorted(given.folder.glob("*.onnx")) if not named or p.stem in named]

    def rows() -> Any:
        for path in files:
            found = row(path, quick=given.quick, seconds=given.seconds)
            if given.rows is not None:
                with given.rows.open("a") as sink:
                    sink.write(json.dumps(found) + "\n")
            yield tuple(str(found.get(column, "")).replace("|", "/") for column in HEADER)

    write_table(HEADER, rows(), given.output)


if __name__ == "__main__":
    main()
