"""A network in memory: what every stage takes and returns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.passes.cost import Profile
from fnac.passes.cost import profile as count
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from fnac.importer import ImportedModule
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

    def module(self) -> ImportedModule:
        """Return the network as a trainable torch module of ordinary parts with these weights.

        Its outputs are those of the graph, in their order. Raises UnsupportedGraphError naming an
        operator that is not known.
        """
        from fnac.importer import import_onnx

        return import_onnx(self.graph.to_model())

    def with_weights(self, module: ImportedModule) -> Network:
        """Return the network with the weights of ``module()`` after training."""
        from fnac.importer import write_back

        return Network(Graph.from_model(write_back(module.cpu(), self.graph.to_model())))

    def __repr__(self) -> str:
        manifest = self.graph.manifest
        task, size = manifest.get("task"), self.graph.image_size()
        parts = [self.role, f"{len(self.graph.nodes)} nodes"]
        parts += [f"for {task}"] if task else []
        parts += [f"{manifest['num_classes']} classes"] if manifest.get("num_classes") else []
        parts += ["{}x{}".format(*size)] if size else []
        return f"<fnac.Network {', '.join(parts)}>"


Given = Network | str | os.PathLike[str]
"""A network, or the ONNX file that holds one."""


def load(path: str | os.PathLike[str]) -> Network:
    """Read an ONNX file; raises UnsupportedGraphError that says what is wrong with it."""
    return Network(Graph.load(path))


def graph_of(given: Given) -> Graph:
    """Return the graph of a network or of a file."""
    return given.graph if isinstance(given, Network) else Graph.load(given)


@contextmanager
def file_of(given: Given) -> Iterator[Path]:
    """Provide a network as a file; write one in memory to a temporary file meanwhile."""
    if not isinstance(given, Network):
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield given.save(Path(folder) / "network.onnx")
