"""fnac in Python: the command line's stages on networks in memory, in six lines."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.errors import UsageError
from fnac.findings import Finding
from fnac.passes.cost import Profile
from fnac.passes.cost import profile as count
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from fnac.stages.deployment.predict import Predictor
    from fnac.tasks.answers import Answer


class Network:
    """An ONNX network: a seed, a super network, a target or an emitted model."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._predictor: Predictor | None = None

    @property
    def role(self) -> str:
        """Return seed, super, target or model; ``found`` if the file does not say."""
        return str(self.graph.manifest.get("role", "found"))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the network as an ONNX file, atomically."""
        return self.graph.save(path)

    def profile(self, size: tuple[int, int] | None = None, convention: str = "exact") -> Profile:
        """Count MAdds and parameters per node; image size (H, W)."""
        return count(self.graph, size, convention)

    def predict(self, image: Any, boxes: Sequence[Sequence[float]] | None = None) -> Answer:
        """Predict on one image: a path, a Pillow image, or uint8 (H, W, 3), RGB.

        boxes  pose: x0, y0, x1, y1 of each person; without them the whole image is one

        Returns labels, boxes, keypoints or classes in the image's own pixels; they draw themselves
        (``draw``) and have ``as_json``. Raises UsageError for a file that names no task.
        """
        from fnac.stages.deployment.predict import Predictor, as_picture

        if self._predictor is None:
            with tempfile.TemporaryDirectory() as folder:
                self._predictor = Predictor(self.save(Path(folder) / "network.onnx"))
        return self._predictor(as_picture(image), boxes)

    def __repr__(self) -> str:
        return f"<fnac.Network {self.role}, {len(self.graph.nodes)} nodes>"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished adaptation: its folder, the emitted model, the metric's value."""

    folder: Path
    model: Network
    metric: float
    metric_name: str
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    findings: tuple[Finding, ...]


def load(path: str | os.PathLike[str]) -> Network:
    """Read an ONNX file; raises UnsupportedGraphError that says what is wrong with it."""
    return Network(Graph.load(path))


def expand(
    seed: Network | str | os.PathLike[str],
    task: str | None = None,
    *,
    data: str | None = None,
    verify: bool = True,
    **settings: Any,
) -> Network:
    """Return the super network of ``seed``; ``settings`` are those of ``fnac expand``.

    data  SPEC of images that a restored BN is calibrated on
    """
    from fnac.adaptation.plan import Subject
    from fnac.adaptation.single_stages import expand_graph
    from fnac.config import read
    from fnac.data.preprocessing import tell_assumed
    from fnac.stages.expand import ExpandSettings

    graph = seed.graph if isinstance(seed, Network) else Graph.load(seed)
    how = read(ExpandSettings, {"expand": {"task": task, **settings}})
    on = Subject.read({"adapt": {"data": data}}, task or "seg") if data else None
    expanded, _ = expand_graph(graph, how, on=on, verify=verify)
    tell_assumed(expanded.manifest)
    return Network(expanded)


def shrink(
    network: Network | str | os.PathLike[str],
    *,
    budget: str = "0.6x",
    data: str,
    **settings: Any,
) -> Network:
    """Make ``network`` cheaper without labels; ``settings`` are those of ``fnac shrink``.

    budget  of the whole network: ``0.6x``, ``300M`` (MAdds)
    data    SPEC of images to fit to, such as ``pictures:FOLDER``
    """
    from fnac.adaptation.shrink_file import ShrinkJob

    graph = network.graph if isinstance(network, Network) else Graph.load(network)
    config = {"shrink": dict(settings), "adapt": {"budget": budget, "data": data}}
    return Network(ShrinkJob(graph, config).shrink().graph)


def adapt(
    network: Network | str | os.PathLike[str] | None = None,
    *,
    task: str | None = None,
    data: str | None = None,
    budget: str | None = None,
    recipe: str | None = None,
    out: str | os.PathLike[str] | None = None,
    **sections: Mapping[str, Any],
) -> Run:
    """Adapt a seed, or a super network that was expanded, to its task; returns the run.

    network   a seed or a super network; None: the bundled seed
    sections  settings by stage, e.g. ``search={"epochs": 6}, tune={"epochs": 20}``

    Raises what the stages raise: UsageError, DataError, TrainingError, UnsupportedGraphError.
    """
    from fnac.adaptation.plan import Plan
    from fnac.adaptation.settings import one_task, recipe_for
    from fnac.config import gather
    from fnac.flow import adapt as run

    graph: Graph | None = None
    if isinstance(network, Network):
        graph = network.graph
    elif network is not None:
        graph = Graph.load(network)
    task = task or (graph.manifest.get("task") if graph is not None else None)
    if recipe is None:
        task = task or "seg"
    name = "given" if graph is not None else None
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"data": data, "budget": budget}
        if graph is not None:
            options["seed"] = str(Network(graph).save(Path(folder) / "network.onnx"))
        settings = recipe_for(recipe, seed=name, task=task, data=data)
        said = {**sections, "adapt": {**sections.get("adapt", {}), **options}}
        config = gather(recipe=settings, options=said)
        config["adapt"]["task"] = one_task(task, config, settings, recipe)
        result = run(Plan.of(config), out=None if out is None else Path(out))
    if result is None:
        raise UsageError("fnac.adapt runs in one process; use torchrun with the command line")
    return Run(
        folder=result.folder,
        model=load(result.folder / "model.onnx"),
        metric=result.value,
        metric_name=result.metric,
        seed=result.seed,
        target=result.target,
        findings=result.findings,
    )
