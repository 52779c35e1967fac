"""Where is the file, and how is it run? The files of the run, and the next commands."""

from __future__ import annotations

from fnac.report.html import Html, element, join, missing, section, table
from fnac.report.parts.facts import fact
from fnac.report.run_folder import RunFolder

FILES = {
    "model.onnx": "the network to deploy, for onnxruntime",
    "model.json": "how it is fed and what it answers",
    "example.py": "runs it on an image; needs numpy, onnxruntime and Pillow only",
    "README.md": "model card: task, metric, costs, limits, licence",
    "target.onnx": "the same network, trainable: to tune or emit again",
    "baseline.onnx": "the seed's own architecture, tuned with the same schedule",
    "arch.json": "what was chosen, layer by layer",
    "config.yaml": "every setting; fnac adapt --config config.yaml repeats the run",
    "run.log": "everything that the run said",
}
"""File -> what it is for."""
COMMANDS = """\
python {run}/example.py image.jpg seen.png        # no fnac needed
fnac predict {run}/model.onnx images/ -o seen/
fnac eval {run}/model.onnx --data SPEC --split test
fnac emit {run}/target.onnx --int8 --data SPEC -o int8.onnx
"""
EXAMPLES = {"det": "coco:FOLDER", "pose": "coco-keypoints:FOLDER"}
"""Task -> a data set; the others have folder:FOLDER."""
EMIT = "fnac emit {run}/target.onnx -o {run}/model.onnx\n"


def files(run: RunFolder) -> Html:
    """The files next to the page, with sizes, and how to use them."""
    heading = "Files, and how to run them"
    rows = [
        [
            element("a", element("code", name), href=name),
            _size((run.path / name).stat().st_size),
            what,
        ]
        for name, what in FILES.items()
        if (run.path / name).is_file()
    ]
    if not any((run.path / name).is_file() for name in ("model.onnx", "target.onnx")):
        return section(heading, missing("Target (target.onnx, model.onnx)"), anchor="files")
    told = COMMANDS if (run.path / "model.onnx").is_file() else EMIT
    commands = element("pre", told.format(run=run.path.name or "."))
    example = EXAMPLES.get(fact(run, "task") or "", "folder:FOLDER")
    note = (
        f"Links work while the page lies in the folder of its run. The commands are for the folder "
        f"that {run.path.name or 'it'} lies in; SPEC is a labelled data set, such as {example}."
    )
    told_how = element("p", note, cls="note")
    parts = join([table(["file", "size", "what it is"], rows, (1,)), commands, told_how])
    return section(heading, parts, anchor="files")


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
