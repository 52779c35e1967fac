"""What a page of the documents needs to be tried: files, smaller numbers, what cannot be run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from safetensors.torch import save_file
from torchvision.models import resnet50

from fnac.data.readers.camvid import CLASSES as CAMVID
from tests.models.test_recipes import coco

from .commands import FENCE, ROOT, text_of
from .stand_ins import (
    camvid,
    flowers,
    model,
    paper_data,
    picture,
    pictures,
    seed,
    street,
    tuned,
)

SEARCH = "--set search.epochs=2 --set search.warmup_epochs=1 --set search.batch_size=4"
TUNE = "--set tune.epochs=1 --set tune.batch_size=4"
LITTLE = f"--no-verify {SEARCH} {TUNE}"
PAIRS = "--set search.batch_size=2"  # for the data sets of six images
SCENES = "scenes:train=32,val=8,size=64"


@dataclass(frozen=True)
class Page:
    """How the commands of one page are tried in an empty folder.

    ``instead`` maps parts of its commands to what is run for them: smaller numbers, and names in
    place of capital letters. Nothing else of a command changes.
    """

    before: Callable[[Path], None] = lambda folder: None
    instead: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[str, ...] = ()  # commands inside of sentences that are tried as well
    leaves: tuple[str, ...] = ()  # what the page says that there is afterwards
    says: tuple[str, ...] = ()  # what the page says that is printed


def _readme(folder: Path) -> None:
    pictures(folder / "images")
    paper_data(folder / "data")
    camvid(folder / "data" / "camvid")
    picture(folder / "street.jpg", 1)
    picture(folder / "image.jpg", 2)
    seed(folder / "model.onnx")
    weights = resnet50().state_dict()
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "my.safetensors"
    )
    model(folder / "runs" / "seg" / "model.onnx", SCENES)


def _commands(folder: Path) -> None:
    flowers(folder / "flowers")
    camvid(folder / "camvid")
    street(folder / "mine")
    coco(folder / "boxes")
    shutil.copytree(folder / "boxes" / "val2017", folder / "boxes" / "test2017")
    (folder / "boxes/annotations/instances_test2017.json").write_text(
        (folder / "boxes/annotations/instances_val2017.json").read_text()
    )
    pictures(folder / "photos", 8)
    picture(folder / "photo.jpg", 3)
    seed(folder / "seed.onnx")
    seed(folder / "original.onnx")
    seed(folder / "small.onnx", 0.2)
    model(folder / "model.onnx", f"coco:{folder / 'boxes'}", "det")
    model(folder / "runs" / "seg2" / "model.onnx", f"folder:{folder / 'mine'}")
    tuned(folder / "target.onnx", f"folder:{folder / 'mine'}")


def _deploy(folder: Path) -> None:
    (folder / "docs").symlink_to(ROOT / "docs")
    pictures(folder / "images", 4)
    picture(folder / "image.jpg", 3)
    camvid(folder / "data" / "camvid")
    spec = f"camvid:{folder / 'data' / 'camvid'}"
    tuned(folder / "target.onnx", spec)
    model(folder / "model.onnx", spec)
    model(folder / "runs" / "seg" / "model.onnx", spec)


def _healing(folder: Path) -> None:
    pictures(folder / "photos", 12)
    for name in ("ORIGINAL.onnx", "original.onnx"):
        seed(folder / name)
    for name in ("SMALLER.onnx", "smaller.onnx"):
        seed(folder / name, 0.2)
    camvid(folder / "data" / "camvid")
    for name in ("target.onnx", "big.onnx"):
        tuned(folder / name, f"camvid:{folder / 'data' / 'camvid'}")


def _metadata(folder: Path) -> None:
    camvid(folder / "data" / "camvid")
    street(folder / "street")
    names = [name for name in CAMVID if name not in ("pedestrian", "bicyclist", "signsymbol")]
    (folder / "street" / "classes.txt").write_text("\n".join([*names, "person"]))
    model(folder / "model.onnx", f"folder:{folder / 'street'}")
    blocks = [block[2] for block in FENCE.finditer(text_of("docs/metadata.md"))]
    (folder / "map.yaml").write_text(next(block for block in blocks if "pedestrian" in block))


def _studies(folder: Path) -> None:
    blocks = [
        block[2] for block in FENCE.finditer(text_of("docs/studies.md")) if block[1] == "yaml"
    ]
    study = yaml.safe_load(blocks[0])
    study["random_seeds"] = study["random_seeds"][:1]
    (folder / "FILE.yaml").write_text(yaml.safe_dump(study))


def _api(folder: Path) -> None:
    flowers(folder / "flowers")
    pictures(folder / "photos")
    picture(folder / "photo.jpg", 3)


def _shrink(folder: Path) -> None:
    pictures(folder / "images")
    seed(folder / "model.onnx")


def _strategies(folder: Path) -> None:
    camvid(folder / "data" / "camvid", 8)
    seed(folder / "seed.onnx")


def _training(folder: Path) -> None:
    flowers(folder / "flowers")
    pictures(folder / "photos", 4)


DATA = {":/data/": ":data/"}
SMALL = f"--data {SCENES} --size 64x64 {LITTLE}"
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -e"
CLONE = f"{INSTALL} . && .venv/bin/"
CITY = "--recipe cityscapes-deeplabv3-mobilenetv2"
POSE = "--recipe mpii-simplebaseline-mobilenetv2"

PAGES = {
    "README.md": Page(
        before=_readme,
        instead={
            CLONE: "",
            "fnac adapt --task seg": f"fnac adapt --task seg {SMALL}",
            "--budget 0.6x": "--budget 0.6x --effort 1",
            "export mobilenetv2": "export mobilenetv2 --weights none",  # no download
            "timm:efficientnet_b0 -o seed.onnx": "bundled -o seed.onnx",  # a network that is small
            CITY: f"{CITY} --size 64x128 --batch 2 {LITTLE} --set tune.steps=2 "
            "--set search.crop=[64,64] --set tune.crop=[64,64]",
            POSE: f"{POSE} --size 64x64 --strategy seed --no-baseline --no-verify {TUNE}",
            "mobilenetv2.onnx": "seed.onnx",
            'data="cityscapes:/data/cityscapes", budget="0.9x"': (
                f'data="{SCENES}", budget="0.9x", tune={{"epochs": 1, "batch_size": 4}}, '
                'search={"epochs": 2, "warmup_epochs": 1, "batch_size": 4}'
            ),
            "classes=19": "classes=8",
            **DATA,
        },
        leaves=("small.onnx", "runs/city/report.html", "out", "segmenter.onnx"),
    ),
    "docs/api.md": Page(
        before=_api,
        instead={
            "epochs=6": "epochs=1",
            'budget="0.7x"': 'budget="0.8x", effort=1',
            'data="folder:flowers")': 'data="folder:flowers", epochs=1)',
        },
        leaves=("flowers.onnx",),
    ),
    "docs/commands.md": Page(
        before=_commands,
        instead={
            "fnac adapt --task seg": f"fnac adapt --task seg --size 64x64 {LITTLE}",
            "--config fnac.yaml": f"--config fnac.yaml --size 64x64 --no-baseline {LITTLE} {PAIRS}",
            "adapt seed.onnx --task det": "adapt bundled --task det",  # with strides up to 32
            "--strategy measured": "--strategy measured --size 64x64 --no-baseline --no-verify "
            f"--budget 0.9x --finalists 1 {TUNE}",
            "--resume": "--resume -o runs/seg",
            "--size 180x240 --epochs 20": "--size 48x64 --epochs 1",
            "fnac tune bundled": f"fnac tune bundled {TUNE}",
            "original.onnx --data": "original.onnx --epochs 1 --data",
            "--budget 0.6x": "--budget 0.6x --effort 1",
            "fnac eval runs/seg": "fnac eval runs/seg2",
        },
        leaves=("data.png", "camvid.png", "fnac.yaml", "curve.png", "seen", "model_int8.onnx"),
    ),
    "docs/deploy.md": Page(
        before=_deploy,
        instead=DATA,
        spans=("fnac emit target.onnx --preprocess inside",),
        leaves=("seen.png", "seen/0.png", "page/model.json", "int8.onnx"),
    ),
    "docs/healing.md": Page(
        before=_healing,
        instead={
            **DATA,
            "pictures:FOLDER": "pictures:photos --epochs 1",
            "--patience 5": f"--patience 5 {TUNE}",
            "--task seg": f"--task seg --size 64x64 {LITTLE}",
            "epochs=6": "epochs=1",
        },
        leaves=("runs/healed/target.onnx", "healed.onnx"),
    ),
    "docs/index.md": Page(
        instead={".venv/bin/fnac adapt --task seg": f"fnac adapt --task seg {SMALL}"},
        leaves=("runs/seg/model.onnx", "runs/seg/report.html"),
    ),
    "docs/metadata.md": Page(before=_metadata, instead=DATA),
    "docs/passes.md": Page(
        before=lambda folder: seed(folder / "in.onnx"), leaves=("out.onnx", "steps")
    ),
    "docs/shrink.md": Page(
        before=_shrink,
        instead={
            "--budget 0.6x": "--budget 0.6x --effort 1",
            'budget="0.6x"': 'budget="0.6x", effort=1',
        },
        leaves=("small.onnx",),
    ),
    "docs/strategies.md": Page(
        before=_strategies,
        instead={
            **DATA,
            "--sizes auto": f"--sizes auto --no-baseline --no-verify --finalists 2 {TUNE}",
            "--sizes 180x240,224x304": f"--sizes 32x32,32x48 --no-baseline --no-verify {TUNE} "
            "--set adapt.tries=2 --set adapt.short_epochs=1",
        },
    ),
    "docs/studies.md": Page(
        before=_studies,
        instead={"-o DIR": f"-o DIR --data {SCENES} --set expand.size=64x64 {SEARCH} {TUNE}"},
        spans=("fnac study FILE.yaml -o DIR",),
        leaves=("DIR/table.md", "DIR/runs.csv", "DIR/cost.png", "DIR/shared"),
    ),
    "docs/training.md": Page(
        before=_training,
        instead={"folder:flowers -o": f"folder:flowers {TUNE} -o"},
        spans=("fnac report runs/flowers",),
        leaves=("data.png", "runs/flowers/start.onnx", "runs/flowers/run.log", "seen/0.png"),
    ),
    "docs/tutorial.md": Page(
        before=lambda folder: street(folder / "street"),
        instead={
            "-o runs/first": f"-o runs/first {SMALL}",
            "-o runs/street": f"-o runs/street {LITTLE}",
            "IMAGE": "street/images/0.jpg",
        },
        spans=(
            "fnac predict runs/street/model.onnx street/images -o seen",
            "python runs/street/example.py IMAGE",
        ),
        leaves=("data.png", "runs/first/report.html", "runs/street/model.json", "seen/0.png"),
    ),
}

NOT_RUN = {
    (
        "README.md",
        "fnac adapt seed.onnx --task det --data coco:/data/coco "
        "--recipe coco-retinanet-mobilenetv2 --dry-run",
    ): "images of 800x1088: tests/models/test_recipes.py dry-runs every recipe",
    ("README.md", f"{INSTALL} '.[dev]' && .venv/bin/python -m pytest -n 2"): (
        "installs from the network and runs these tests; CI runs it as it is printed"
    ),
    ("README.md", "torchrun --nproc-per-node 4 -m fnac.cli adapt ..."): (
        "needs four devices; tests/adaptation/test_distributed.py runs two processes"
    ),
    ("docs/commands.md", "_FNAC_COMPLETE=fish_source fnac | source"): "needs the shell fish",
    ("docs/deploy.md", "pip install numpy onnxruntime pillow"): "installs from the network",
    (
        "docs/deploy.md",
        "npm install onnxruntime-web && cp -r node_modules/onnxruntime-web/dist page/ort",
    ): "installs from the network",
    ("docs/deploy.md", "python -m http.server -d page 8000"): "a server that does not end",
    ("docs/faq.md", "python3 -m venv .venv"): "an environment of its own: test_packaging.py",
    ("docs/faq.md", ".venv/bin/pip install -r requirements-slim.txt"): "installs from the network",
    ("docs/faq.md", ".venv/bin/pip install --no-deps -e ."): "installs from the network",
    ("docs/index.md", "python3 -m venv .venv && .venv/bin/pip install -e ."): (
        "installs from the network"
    ),
    ("docs/output.md", "python -m tests.test_golden"): "writes files of this checkout",
    ("docs/tutorial.md", "python3 -m venv .venv"): "an environment of its own",
    ("docs/tutorial.md", ".venv/bin/pip install -e ."): "installs from the network",
    ("docs/tutorial.md", ". .venv/bin/activate"): "an environment of its own",
}
"""Commands that no test runs, with the reason."""
