"""The web page of the kit in headless Chromium: its answers are those of ``example.py``.

The network runs in onnxruntime-web, whose files are looked for in the folder that FNAC_ORT_WEB
names, else in node_modules/ (npm install onnxruntime-web).
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fnac.data import open_data
from fnac.stages.deployment import example
from fnac.stages.emit import EmitSettings, emit
from fnac.stages.opening.as_trained import state_training
from fnac.tasks import make_task
from tests.stages.test_predict import SCENES, network

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "docs" / "web"
ORT = Path(os.environ.get("FNAC_ORT_WEB") or ROOT / "node_modules" / "onnxruntime-web" / "dist")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LIMIT_S = 90
WORKS = """<!doctype html><script type="module">
const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
window.addEventListener("unhandledrejection", (event) => tell({ error: String(event.reason) }));
try { %s } catch (error) { await tell({ error: `${error}` }); }
</script>"""
PARTS = """
  const { prepare, read } = await import("./fnac.js");
  const told = [];
  for (const asked of await (await fetch("asked.json")).json()) {
    const image = { ...asked.image, data: Uint8Array.from(asked.image.data) };
    const { data, dims } = prepare(image, asked.contract.input);
    told.push({ data: Array.from(data), dims });
  }
  await tell({ told });
"""
PAGE = """
  const frame = document.createElement("iframe");
  frame.src = "index.html";
  document.body.append(frame);
  const pause = () => new Promise((go) => setTimeout(go, 50));
  const until = async (ready) => { while (!ready()) await pause(); };
  const inside = () => frame.contentDocument;
  await until(() => inside()?.getElementById("state")?.textContent === "ready");
  const blob = await (await fetch("image.png")).blob();
  const files = new DataTransfer();
  files.items.add(new File([blob], "image.png", { type: "image/png" }));
  const input = inside().getElementById("file");
  input.files = files.files;
  input.dispatchEvent(new Event("change"));
  await until(() => frame.contentWindow.answer);
  const answer = { ...frame.contentWindow.answer };
  if (answer.labels) answer.labels = Array.from(answer.labels);
  await tell({ told: answer, words: inside().getElementById("answer").textContent });
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and hands on what a page tells."""

    def __init__(self, told: queue.Queue[Any], *args: Any, **kwargs: Any) -> None:
        self.told = told
        super().__init__(*args, **kwargs)

    def do_POST(self) -> None:
        self.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, queue.Queue[Any]]]:
    told: queue.Queue[Any] = queue.Queue()
    handler = functools.partial(Server, told, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", told
        server.shutdown()


def in_chromium(folder: Path, works: str) -> dict[str, Any]:
    """Return what the page that ``works`` tells, run in the folder."""
    (folder / "test.html").write_text(WORKS % works)
    with serving(folder) as (address, told):
        words = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu"]
        profile = f"--user-data-dir={folder / 'profile'}"
        browser = subprocess.Popen(
            [*words, profile, "--remote-debugging-port=0", f"{address}/test.html"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            found = told.get(timeout=LIMIT_S)
        finally:
            browser.terminate()
            browser.wait()
    assert "error" not in found, found
    return dict(found)


def image_file(path: Path, height: int = 50, width: int = 47) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    image.save(path)
    return image


def test_an_image_is_fed_as_in_python(tmp_path: Path) -> None:
    image = image_file(tmp_path / "image.png")
    shutil.copy(WEB / "fnac.js", tmp_path)
    wanted = {
        "name": "x", "dtype": "float32", "layout": "NCHW", "size": [24, 32], "color": "RGB",
        "range": [0, 1], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "sides": [24, 40],
    }  # fmt: skip
    contracts = [{**wanted, "resize": how} for how in ("stretch", "letterbox", "crop", "sides")]
    shape = {"height": image.height, "width": image.width}
    asked = [
        {"image": {**shape, "data": np.asarray(image).ravel().tolist()}, "contract": {"input": one}}
        for one in contracts
    ]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    told = in_chromium(tmp_path, PARTS)["told"]
    for contract, found in zip(contracts, told, strict=True):
        right = example.prepare(image, contract)
        assert found["dims"] == list(right.shape)
        np.testing.assert_allclose(
            np.array(found["data"]).reshape(right.shape), right, atol=1e-6, rtol=0
        )


@pytest.mark.skipif(not ORT.is_dir(), reason="onnxruntime-web is not there: npm install it")
@pytest.mark.parametrize("preprocess", ["outside", "inside"])
@pytest.mark.parametrize("task", ["seg", "det", "pose", "cls"])
def test_the_page_answers_as_python_does(tmp_path: Path, task: str, preprocess: str) -> None:
    source = open_data(SCENES, task)
    graph = network(task, len(source.classes))
    state_training(graph, make_task(task, source, graph.manifest), mean="tf")
    graph.save(tmp_path / "target.onnx")
    emit(
        tmp_path / "target.onnx",
        tmp_path / "model.onnx",
        EmitSettings(preprocess=preprocess),  # type: ignore[arg-type]
    )
    for name in ("index.html", "fnac.js"):
        shutil.copy(WEB / name, tmp_path)
    (tmp_path / "ort").symlink_to(ORT)
    image_file(tmp_path / "image.png")
    told = in_chromium(tmp_path, PAGE)
    right = example.run(tmp_path / "image.png", tmp_path)
    found = told["told"]
    if task == "seg":
        assert found["labels"] == right["labels"].ravel().tolist()
        assert str(found["names"][found["labels"][0]]) in told["words"]
        return
    key = {"det": "boxes", "pose": "keypoints", "cls": "classes"}[task]
    assert len(found[key]) == len(right[key]) > 0
    for one, other in zip(found[key], right[key], strict=True):
        assert one["name"] == other["name"]
        for number in {"x", "y", "score", "probability", "box"} & other.keys():
            np.testing.assert_allclose(one[number], other[number], atol=1e-3)
