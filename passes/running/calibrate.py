"""Statistics of inner tensors over images, measured in onnxruntime."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.node_maker import NodeMaker
from ..graph.surgery import leave_instead, set_outputs, values_of
from .sessions import open_session

MEMORY = 256 << 20  # bytes of the watched tensors that one run may hold
LARGEST_BATCH = 32
TRAINING_BATCH = 8


@dataclasses.dataclass
class Statistics:
    """Mean and (population) variance of each channel over batch, height and width, float64.

    Batches are merged as in Chan, Golub and LeVeque (1979), which does not cancel.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray  # sum of squared distances from the mean

    @property
    def variance(self) -> np.ndarray:
        """Variance of each channel."""
        return self.squares / max(self.count, 1)

    @classmethod
    def of(cls, array: np.ndarray) -> Statistics:
        """Measure one (N, C, ...) array: distances from the mean of its first image, added up."""
        pictures = np.ascontiguousarray(array).reshape(len(array), array.shape[1], -1)
        start = pictures[0].mean(axis=1, dtype=np.float64)
        total, squares = np.zeros(len(start)), np.zeros(len(start))
        distance = np.empty(pictures.shape[1:])  # of one image: it stays in the cache
        for picture in pictures:
            np.subtract(picture, start[:, None], out=distance)
            total += distance.sum(axis=1)
            squares += np.einsum("cn,cn->c", distance, distance)
        count = len(pictures) * pictures.shape[2]
        gap = total / count
        return cls(count, start + gap, np.maximum(squares - count * gap**2, 0.0))

    def merge(self, other: Statistics) -> None:
        """Merge the numbers of ``other``."""
        count = self.count + other.count
        gap = other.mean - self.mean
        self.mean = self.mean + gap * (other.count / count)
        self.squares = self.squares + other.squares + gap**2 * (self.count * other.count / count)
        self.count = count


def read_images(path: str) -> np.ndarray:
    """Read images (N, C, H, W), float32, preprocessed, from .npy or .npz (array ``images``).

    Raises UnsupportedGraphError naming the file and what is wrong with it.
    """
    where = Path(path)
    try:
        loaded = np.load(where, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded["images"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UnsupportedGraphError(
            f"{where}: no readable images ({error}); wanted .npy, or .npz with 'images', "
            "(N, C, H, W) float32"
        ) from error
    return np.asarray(array)


def output_statistics(
    graph: Graph, tensors: Sequence[str], images: np.ndarray
) -> dict[str, Statistics]:
    """Return the statistics of ``tensors`` (N, C, H, W each) over ``images``, by tensor name.

    images  (N, C, H, W) float32, as the network's only input wants them

    Raises UnsupportedGraphError if the images do not fit the network's input.
    """
    merged: dict[str, Statistics] = {}
    for results in _watched(graph, tensors, images):
        for name in tensors:
            measured = Statistics.of(results[name])
            if name in merged:
                merged[name].merge(measured)
            else:
                merged[name] = measured
    for name, statistics in merged.items():
        if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.squares).all()):
            raise UnsupportedGraphError(
                f"{name}: its statistics over the images are not finite; "
                "wanted images preprocessed for this network"
            )
    return merged


def train_mode_cosines(
    graph: Graph, tensors: Sequence[str], images: np.ndarray
) -> dict[str, float]:
    """Return, by tensor name, the cosine of train- and eval-mode values on one batch of images.

    In training mode every BatchNormalization uses the statistics of the batch. The batch is small
    (8, spread over ``images``): on all the images the statistics come from it would be 1.
    """
    count = min(TRAINING_BATCH, _batch_size(graph, tensors, images), len(images))
    places = np.linspace(0, len(images) - 1, count).astype(int)
    batch = np.asarray(images[places], np.float32)
    feed = {graph.inputs[0].name: batch}
    in_eval = _run(graph, feed, tensors)
    in_train = _run(with_batch_statistics(graph), feed, tensors)
    cosines = {}
    for name in tensors:
        a, b = (r[name].reshape(-1).astype(np.float64) for r in (in_eval, in_train))
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosines[name] = float(a @ b) / length if length else 1.0
    return cosines


def with_batch_statistics(graph: Graph) -> Graph:
    """Return a copy whose BatchNormalizations normalise by their batch, as in training."""
    measuring = graph.copy()
    shapes = measuring.infer().shapes
    for node in list(measuring.nodes):
        if node.op != "BatchNormalization":
            continue
        rank = len(shapes.get(node.inputs[0].name, (None,) * 4))  # unknown: features of an image
        over = [0, *range(2, rank)]
        gamma, beta = (values_of(t).reshape([1, -1] + [1] * (rank - 2)) for t in node.inputs[1:3])
        epsilon = np.array(node.attrs.get("epsilon", 1e-5), node.inputs[1].dtype)
        x, y = node.inputs[0], node.outputs[0]
        set_outputs(node, [])
        make = NodeMaker(measuring, node.name)
        centred = make("Sub", x, _mean(make, x, over))
        variance = _mean(make, make("Mul", centred, centred), over)
        scale = make("Div", gamma, make("Sqrt", make("Add", variance, epsilon)))
        leave_instead(make("Add", make("Mul", centred, scale), beta), y)
        measuring.insert(make.nodes, after=node)
    return measuring.cleanup()


def _mean(make: NodeMaker, tensor: gs.Tensor, axes: list[int]) -> gs.Variable:
    if make.graph.opset >= 18:
        return make("ReduceMean", tensor, np.array(axes))
    return make("ReduceMean", tensor, axes=axes)


def _watched(
    graph: Graph, tensors: Sequence[str], images: np.ndarray
) -> Iterator[Mapping[str, np.ndarray]]:
    """Run the network over the images, batch by batch; yield the watched tensors."""
    check_fit(graph, images)
    session = _Session(graph, tensors)
    step = _batch_size(graph, tensors, images)
    for start in range(0, len(images), step):
        batch = np.asarray(images[start : start + step], np.float32)
        yield session.run({graph.inputs[0].name: batch})


def _run(
    graph: Graph, feed: Mapping[str, np.ndarray], tensors: Sequence[str]
) -> Mapping[str, np.ndarray]:
    return _Session(graph, tensors).run(feed)


class _Session:
    """An onnxruntime session (optimised) whose outputs are ``tensors`` alone."""

    def __init__(self, graph: Graph, tensors: Sequence[str]) -> None:
        import onnxruntime as ort

        model = graph.to_model()
        del model.graph.output[:]
        del model.graph.value_info[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.tensors = list(tensors)
        self.session = open_session(model, options)

    def run(self, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the watched tensors by name."""
        return dict(zip(self.tensors, self.session.run(self.tensors, dict(feed)), strict=True))


def check_fit(graph: Graph, images: np.ndarray) -> None:
    """Raise UnsupportedGraphError unless the network takes one image and ``images`` fit it."""
    if len(graph.inputs) != 1:
        names = ", ".join(t.name for t in graph.inputs)
        raise UnsupportedGraphError(f"the network has the inputs {names}; wanted one image")
    shape = list(graph.inputs[0].shape or [])
    fits = images.ndim == 4 and len(images) > 0 and len(shape) == 4
    if not fits or any(
        isinstance(w, int) and w != n for w, n in zip(shape[1:], images.shape[1:], strict=True)
    ):
        raise UnsupportedGraphError(
            f"input {graph.inputs[0].name}: images of shape {list(images.shape)} were given; "
            f"wanted {shape}"
        )


def _batch_size(graph: Graph, tensors: Sequence[str], images: np.ndarray) -> int:
    """Return how many images one run takes, by the memory that the watched tensors need."""
    fixed = graph.inputs[0].shape[0]
    if isinstance(fixed, int):
        return fixed
    shapes = graph.infer(images.shape[2:], batch=1).shapes
    each = sum(
        4 * int(np.prod([d for d in shapes.get(name, ()) if isinstance(d, int)]))
        for name in tensors
    )
    return int(np.clip(MEMORY // max(each, 1), 1, LARGEST_BATCH))
