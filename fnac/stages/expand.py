"""Stage 2, ``expand``: turn a seed into its super network, in the order written here.

normalize, restore BN, [cut the classifier, set the output stride, attach the head], mix.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_graphsurgeon as gs

from fnac.data.preprocessing import Stated, parse_stated, state_preprocessing
from fnac.errors import UnsupportedGraphError, UsageError
from fnac.models.spaces import space_names
from fnac.names import known_name
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import forget_task
from fnac.passes.graph.layout import image_axes, with_size
from fnac.passes.heads.attach_head import HEAD
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.manager import PassManager
from fnac.passes.normalize.make_batch_symbolic import MakeBatchSymbolic
from fnac.passes.normalize.raise_opset import RaiseOpset
from fnac.passes.normalize.unify_pooling import UnifyPooling
from fnac.passes.prepare.follow_sizes import FollowSizes
from fnac.passes.remap.strategies import FIT, NAMES
from fnac.passes.running.batch import check_batch
from fnac.passes.running.run import check_runs
from fnac.passes.shapes.sized_shapes import known_at
from fnac.passes.stored_layers import LAYERS, read_layers
from fnac.passes.super_network.mix import Mix
from fnac.stages.opening.canonical import check_control_flow, normalize, take_pictures
from fnac.stages.opening.task_head import (
    OWN_HEAD,
    attach_head,
    check_head,
    head_kind,
    keep_own_head,
    state_answers,
)
from fnac.stages.opening.uncounted import tell_uncounted
from fnac.tasks.network_check import check_pictures

if TYPE_CHECKING:
    import numpy as np

    from fnac.models.spaces import Space
    from fnac.passes.shrink.block_fits import BlockFits

logger = logging.getLogger(__name__)

Images = Callable[[Graph], "np.ndarray"]

DEFAULT_SIZE = (224, 224)
OUTDATED = (  # what an earlier adaptation wrote about a network that is now a seed
    *(
        "search",
        "tune",
        "heal",
        "findings",
        "arch",
        "arch_layers",
        LAYERS,
        "postprocess",
        "outputs",
    ),
    "ledger",
    *("fixed_madds", "fixed_params", "seed_madds", "seed_params", "cost_size"),
)


OF_HEAD = (
    "task",
    "head",
    "num_classes",
    "classes",
    "taps",
    "anchors",
    "output_stride",
    "stride",
    "outputs",
    "limbs",
    "mirrored",
    "colours",
    "postprocess",
)
"""What a manifest says of a head."""


@dataclasses.dataclass(frozen=True)
class ExpandSettings:
    """Settings of the super network. Fields are the options of ``fnac expand``.

    ``task``          None: the seed keeps its own head
    ``head``          ``deeplabv3``, ``ssdlite``, ...; or ``own``: keep the network's own head and
                      replace only its last layer; None: the task's first head
    ``classes``       outputs of the head: classes without background, joints
    ``space``         ``auto``, the name of a bundled space, or a YAML file
    ``remap``         remapping strategy: fna, fna-live, fit (wants --data), net2net, net2net-depth,
                      net2net-both, bn-gamma, std, l1, dilate, random
    ``size``          input height and width in pixels; None: the seed's own, or about the training
                      images' if the file states none
    ``output_stride`` of the backbone under a dense head: 8, 16 or 32; None: 16
    ``mean``          of the preprocessing, for a file that states none: three numbers on pixels /
                      255, or ``imagenet``, ``tf``, ``caffe``, which bring std and colour order
    ``std``           of the preprocessing, on pixels / 255
    ``restore_batchnorm``  restore BN after the layers in which it was folded; ``all``: after all
                      layers that can have one, for a plain network in which folding does not show
    ``random_seed``   of the head, the alphas and strategies that draw
    """

    section: ClassVar[str] = "expand"

    task: str | None = None
    head: str | None = None
    classes: int | None = None
    space: str = "auto"
    remap: str = "fna"
    size: tuple[int, int] | None = None
    output_stride: int | None = None
    mean: Stated | None = None
    std: Stated | None = None
    restore_batchnorm: bool | Literal["all"] = True
    random_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse contradictions in the words of the options."""
        known_name("--remap", self.remap, NAMES)
        if not self.space.endswith((".yaml", ".yml")):
            known_name("--space", self.space, ["auto", *space_names()], also=", or a YAML file")
        if self.size is not None and min(self.size) < 32:
            raise UsageError(f"--size {self.size[0]}x{self.size[1]}: wanted at least 32x32")
        check_head(self.task, self.head, self.classes, self.output_stride)
        parse_stated(self.mean, self.std)


def expand(
    graph: Graph,
    settings: ExpandSettings,
    *,
    manager: PassManager | None = None,
    images: Images | None = None,
) -> Graph:
    """Return the super network of the seed ``graph``, which is not changed.

    manager  runs, proves and records the passes; its ledger is complete afterwards
    images   asked for (N, 3, H, W) preprocessed images only if BN has to be restored, or blocks
             are fitted

    Raises UsageError for options that do not fit, UnsupportedGraphError for a seed without blocks
    to search.
    """
    manager = manager or PassManager()
    expanded = prepare_seed(graph, settings, manager=manager, images=images)
    mixing = mixing_pass(expanded, settings)
    if settings.remap == FIT.name:
        mixing = dataclasses.replace(mixing, fits=_fits(expanded, images))
    expanded = manager.run([mixing], expanded)
    if not read_layers(expanded.manifest):
        from fnac.passes.blocks.find import find_blocks

        if not find_blocks(expanded).searchable:
            raise UnsupportedGraphError(
                "the network has no blocks to search; fnac inspect says why each convolution is "
                "left alone; fnac tune works without a search"
            )
        raise UnsupportedGraphError(
            f"--space {settings.space} offers nothing to choose in the blocks of this network; "
            "fnac inspect says why each convolution is left alone; fnac tune works without a search"
        )
    return expanded


def prepare_seed(
    graph: Graph,
    settings: ExpandSettings,
    *,
    manager: PassManager | None = None,
    images: Images | None = None,
) -> Graph:
    """Return the seed in canonical form with the task's head; budgets are relative to it.

    ``seed_madds`` and ``seed_params`` of its manifest are the whole network's, exactly.
    What an earlier adaptation wrote into the manifest is gone from it.

    Raises UsageError for a super network, UnsupportedGraphError for weights that are not finite.
    """
    if graph.manifest.get("role") == "super":
        raise UsageError("the file is a super network already; give the seed it was made from")
    manager = manager or PassManager()
    seed = graph.copy()
    seed.check_finite()
    if manager.verify:
        check_runs(seed, manager.runner)  # what no runtime runs is the file's fault, not a pass's
    _forget(seed, settings)
    take_pictures(seed, manager)
    _resize(seed, settings, manager)
    _state(seed, settings)
    # a head exported by fnac is canonical, and stays sizeless
    if graph.manifest.get("role") == "model" or seed.manifest.get("task") is None:
        _normalize(seed, settings, manager, images)
    elif settings.restore_batchnorm == "all":
        logger.warning(
            "expand.restore_batchnorm=all is not followed: the network has its head already and "
            "is taken as it is; give the network without its head"
        )
    if settings.task is not None:
        check_pictures(seed)
        _attach(seed, settings, manager)
    check_control_flow(seed)  # a detector's loops went with its head
    if settings.remap == "random":
        from fnac.passes.grow.randomize import Randomize

        manager.run([Randomize(random_seed=settings.random_seed)], seed)
    _check_answers(graph, seed, settings, manager)
    _count(seed)
    return seed


def _forget(graph: Graph, settings: ExpandSettings) -> None:
    """Remove an earlier adaptation's entries from the manifest, and a head not asked for."""
    answers = graph.manifest.get("postprocess") is not None
    for key in OUTDATED:
        graph.manifest.pop(key, None)
    if graph.manifest.get("task") is None or settings.task is None:
        return
    if answers:
        logger.warning(
            "the file was emitted with post-processing: its head is replaced by a new one; the "
            "target.onnx it was emitted from keeps its head"
        )
    if answers or not _is_asked_for(graph, settings):
        _forget_head(graph)


def _resize(graph: Graph, settings: ExpandSettings, manager: PassManager) -> None:
    """Make a network of fixed size follow the requested size, and an output stride inside it."""
    new_size = _is_resized(graph, settings)
    headless = (
        graph.manifest.get("task") is None
    )  # not one with a head of fnac's, which is sizeless
    new_head = headless and settings.task is not None and settings.head != OWN_HEAD
    if not (new_size or new_head):
        return
    manager.run([RaiseOpset(), UnifyPooling()], graph)
    if new_size and new_head:
        manager.run([CutClassifier(("last",))], graph)  # it goes, and may know one size only
    manager.run([FollowSizes()], graph)


def _is_resized(graph: Graph, settings: ExpandSettings) -> bool:
    return settings.size not in (None, graph.image_size())


def _check_answers(
    before: Graph, after: Graph, settings: ExpandSettings, manager: PassManager
) -> None:
    """Raise UnsupportedGraphError unless each image of a batch gives its own row of outputs."""
    first = after.inputs[0].shape if after.inputs else None
    why_fixed = None
    if first and first[0] == 1:
        manager.run([MakeBatchSymbolic()], after)  # what folded the batch away may be gone
        why_fixed = next(iter(manager.ledger[-1].report.left.values()), None)
    if manager.verify:
        check_batch(after, manager.runner, why_fixed)
    if settings.task is not None or not _is_resized(before, settings):
        return
    old, new = known_at(before, batch=1).shapes, known_at(after, batch=1).shapes
    for a, b in zip(before.outputs, after.outputs, strict=True):
        rows = old.get(a.name, ())[:1], new.get(b.name, ())[:1]
        if rows[0] == (1,) and rows[1] not in ((1,), (), (None,)):
            raise UnsupportedGraphError(
                f"output {b.name}: one image of another size gives {rows[1][0]} rows: the "
                "network's linear layer reads the features of one size; leave --size out, or give "
                "a --task, whose head takes the place of the layer"
            )


def _count(graph: Graph) -> None:
    """Record the seed and its cost in the manifest."""
    graph.refresh_shapes()
    graph.name_batch()
    state_answers(graph)
    cost = profile(graph)
    tell_uncounted(graph)
    graph.manifest["role"] = "seed"
    graph.manifest["seed_madds"] = cost.madds
    graph.manifest["seed_params"] = cost.params
    graph.manifest["cost_size"] = list(graph.image_size() or ()) or None


def _state(graph: Graph, settings: ExpandSettings) -> None:
    """Record size and preprocessing if the file does not state them or the user overrides them."""
    size = settings.size or graph.image_size()
    if size is None:
        size = DEFAULT_SIZE
        logger.warning(
            "the file does not say how large its images are: 224x224 is taken; or --size"
        )
    if settings.size is not None or graph.manifest.get("size") is None:
        graph.manifest["size"] = list(size)
    for tensor in graph.inputs:
        axes = image_axes(tensor)
        if axes is not None:
            tensor.shape = with_size(tensor.shape, axes, size)
    for output in graph.outputs if settings.size is not None else ():
        if isinstance(output, gs.Variable) and output.shape is not None and len(output.shape) == 4:
            output.shape = [*output.shape[:2], None, None]
    if _of_colour(graph):
        state_preprocessing(graph.manifest, settings.mean, settings.std)


def _of_colour(graph: Graph) -> bool:
    """Say whether the network's one input may be an image of three channels."""
    if len(graph.inputs) != 1 or graph.inputs[0].shape is None:
        return len(graph.inputs) == 1
    shape = list(graph.inputs[0].shape)
    return len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int))


def _normalize(
    graph: Graph, settings: ExpandSettings, manager: PassManager, images: Images | None
) -> None:
    from fnac.passes.decisions import Code
    from fnac.passes.prepare.lost_batchnorm import layers_to_restore
    from fnac.passes.prepare.restore_batchnorm import RestoreBatchNorm

    normalize(graph, manager)
    if not settings.restore_batchnorm:
        return
    where = "all" if settings.restore_batchnorm == "all" else "auto"
    left = [left for _, left in layers_to_restore(graph, where)]
    pictures = None
    if None in left and settings.remap != "random":
        pictures = None if images is None else images(graph)
        if pictures is None:
            logger.warning(
                "batch normalisation is put in uncalibrated: training will start badly; give "
                "images with --data"
            )
    elif any(one is not None and one.code is Code.NEVER_HAD_BATCHNORM for one in left):
        logger.info(
            "no batch normalisation: no depthwise or residual convolution has a bias, so BN was "
            "never there; expand.restore_batchnorm=all puts it in"
        )
    # where there is nothing to do, the pass says in the ledger why
    manager.run([RestoreBatchNorm(where, images=pictures)], graph)


def _fits(graph: Graph, images: Images | None) -> BlockFits:
    from fnac.passes.shrink.block_fits import BlockFits

    if images is None:
        raise UsageError(
            "--remap fit: weights are fitted to images, and none are given; add --data SPEC "
            "(pictures:FOLDER needs no labels), or take --remap fna-live"
        )
    return BlockFits(graph, images(graph))


def _is_asked_for(graph: Graph, settings: ExpandSettings) -> bool:
    """Say whether the network's fnac head is the requested one."""
    manifest = graph.manifest
    asked = (settings.task, settings.head or manifest.get("head"))
    return asked == (manifest["task"], manifest.get("head")) and (
        settings.classes in (None, manifest.get("num_classes"))
    )


def _forget_head(graph: Graph) -> None:
    """Treat the head as the network's own, so that it is removed."""
    for key in OF_HEAD:
        graph.manifest.pop(key, None)
    for node in graph.nodes:
        if node.metadata.get("fnac.part") == HEAD:
            del node.metadata["fnac.part"]


def _attach(graph: Graph, settings: ExpandSettings, manager: PassManager) -> None:
    """Attach the task's head to the backbone; a seed that already has it keeps it."""
    manifest = graph.manifest
    if manifest.get("task") is None:
        forget_task(manifest)  # of a head that went, or of a tuning for another task
    if manifest.get("task") is None and settings.head == OWN_HEAD:
        if settings.classes is None:
            raise UsageError("--head own: needs --classes N")
        if settings.output_stride is not None:
            logger.info("the seed's own head keeps its output stride, whatever the settings say")
        keep_own_head(
            graph,
            str(settings.task),
            settings.classes,
            random_seed=settings.random_seed,
            manager=manager,
        )
        return
    if manifest.get("task") is not None:
        return
    kind = head_kind(str(settings.task), settings.head)
    if settings.classes is None:
        raise UsageError(f"--task {kind.task}: the head needs --classes N")
    attach_head(
        graph,
        kind,
        settings.classes,
        output_stride=settings.output_stride,
        random_seed=settings.random_seed,
        manager=manager,
    )


def mixing_pass(graph: Graph, settings: ExpandSettings, task: str | None = None) -> Mix:
    """Turn the search space into arguments of the mixing pass."""
    from fnac.models.spaces import load_space
    from fnac.passes.blocks.find import find_blocks

    stages = find_blocks(graph).searchable
    kinds = dict.fromkeys(block.kind for stage in stages for block in stage.blocks)
    space = _space(settings, kinds, task or graph.manifest.get("task"))
    depths = space.depths or ()
    if settings.space == "auto" and depths and len(stages) != len(depths):
        logger.info("%d stages to search: each keeps the seed's depth", len(stages))
        depths = ()
    # where groups do not split further (ResNeXt, RegNet) and where a block is of another kind than
    # the space is for, windows may grow all the same
    otherwise = load_space("plain").candidates if settings.space == "auto" else ()
    return Mix(
        kernels=(),
        expansions=(),
        candidates=space.candidates,
        otherwise=otherwise,
        depths=depths,
        skip=space.skip,
        strategy=settings.remap,
        random_seed=settings.random_seed,
    )


def _space(settings: ExpandSettings, kinds: Collection[str], task: str | None) -> Space:
    from fnac.models.errors import ModelError
    from fnac.models.spaces import load_space, space_for
    from fnac.passes.blocks.candidate_names import read_name
    from fnac.passes.errors import CandidateNameError

    try:
        auto = settings.space == "auto"
        space = space_for(kinds, task) if auto else load_space(settings.space)
        for name in space.candidates:  # models do not know what the compiler reads
            read_name(name)
    except (ModelError, CandidateNameError) as error:
        raise UsageError(f"--space {settings.space}: {error}") from error
    return space
