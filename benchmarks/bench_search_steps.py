"""Weight step and alpha steps of a search against a training step of the seed with its head.

MobileNetV2 + DeepLabv3 at 96x128, batch 4; the steps are taken in turn.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from pairs import in_turn, say

from fnac.architectures.costs import space_costs
from fnac.data.spec import open_data
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.stored_layers import read_layers, seed_arch
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.passes.super_network.choose import Choose
from fnac.search.run import SearchRun
from fnac.search.settings import SearchSettings
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from fnac.tasks.segmentation import Segmentation

SIZE, BATCH, ROUNDS = (96, 128), 4, 5


def main() -> None:
    """Measure and print."""
    logging.disable(logging.WARNING)
    source = open_data(f"scenes:train=64,val=8,size={SIZE[0]}x{SIZE[1]}")
    task = Segmentation(tuple(source.classes))
    quick = PassManager(verify=False)
    seed = export_seed(ExportSettings(weights="none", size=SIZE))
    wanted = ExpandSettings(task="seg", classes=len(source.classes), size=SIZE)
    network = expand(seed, wanted, manager=quick)
    arch = seed_arch(read_layers(network.manifest))
    alone: Graph = quick.run([Choose(arch=tuple(arch))], network.copy())
    plain = import_onnx(alone.to_model()).train()
    optimizer = torch.optim.SGD(plain.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    assert len(find_choice_points(network)) == len(arch)
    costs = space_costs(network.manifest)

    with tempfile.TemporaryDirectory() as folder:
        searches = {}
        for grad in ("all", "two-path", "gumbel"):
            settings = SearchSettings(batch_size=BATCH, size=SIZE, alpha_grad=grad, workers=0)  # type: ignore[arg-type]
            run = SearchRun(
                network, costs, costs.seed_total(), source, task, Path(folder) / grad, settings
            )
            run.open(resume=False)
            searches[grad] = run
        device = searches["all"].fabric.device
        plain.to(device)
        images, masks = searches["all"].loader.batch(0)
        images, masks = images.to(device), masks.to(device)

        def seed_step() -> None:
            optimizer.zero_grad(set_to_none=True)
            task.loss(plain(images), masks).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()

        def weight_step() -> None:
            searches["all"].step(0, images, masks)

        def alpha_step(grad: str) -> None:
            run = searches[grad]
            run.alphas.step(0, images, masks, run.steering)

        sides = {
            "training step of the seed": seed_step,
            "weight step (one path)": weight_step,
            **{
                f"alpha step ({grad})": lambda grad=grad: alpha_step(grad)  # type: ignore[misc]
                for grad in searches
            },
        }
        print(f"device {device}, threads {torch.get_num_threads()}, batch {BATCH}, size {SIZE}")
        say(in_turn(sides, ROUNDS), "training step of the seed")


if __name__ == "__main__":
    main()
