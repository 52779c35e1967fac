from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.architectures.budget import parse_budget
from fnac.cli import run
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager, interface
from fnac.passes.running.run import run as run_graph
from fnac.passes.shrink.answers import Verdict
from fnac.stages.shrink import shrink, shrink_to_several, split_images
from fnac.stages.shrinking.journal import Journal, digest
from fnac.stages.shrinking.milliseconds import HALVINGS
from fnac.stages.shrinking.result import ShrinkResult
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import open_shrinkable
from tests.support.graphs import graph
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network

Array = np.ndarray
QUICK = ShrinkSettings(effort=2, multiple=2, pixels=1024)


def images(count: int = 20, size: int = 16) -> Array:
    return np.random.default_rng(2).standard_normal((count, 3, size, size)).astype("f4")


def network() -> Graph:
    g = mbconv_network([(8, 2, 1), (16, 1, 2)], expansion=4, bn=False, bias=True)
    g.manifest["task"] = "cls"
    return g


@pytest.mark.parametrize("of", ["madds", "params"])
def test_the_budget_is_met_and_the_interface_stays(of: str) -> None:
    g = network()
    found = shrink(g, images(), parse_budget("0.6x", of), QUICK)
    assert found.after[of] <= found.budget == int(0.6 * found.before[of])
    assert profile(found.graph).madds == found.after["madds"]
    assert interface(found.graph) == interface(g)
    assert sum(row.width < row.was for row in found.rows) > 1
    x = images(3)
    a, b = (next(iter(run_graph(one, {"x": x}).values())) for one in (g, found.graph))
    assert a.shape == b.shape
    assert found.error > 0


def test_an_interface_that_cannot_be_given_back_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    g = network()
    g.outputs[0].dtype = np.dtype("f2")
    monkeypatch.setattr("fnac.stages.shrinking.shrinkable.profile", lambda *_: pytest.fail("late"))
    with pytest.raises(UnsupportedGraphError, match=r"its interface .* would change"):
        open_shrinkable(g, heads=False, manager=PassManager(verify=False))


def test_costs_are_exact_for_any_widths() -> None:
    """Each set in turn, at two widths: the polynomial says what the network's profile says."""
    from fnac.passes.shrink.narrowing import Narrowing
    from fnac.passes.shrink.original import Original

    g = resnet_network([(8, 1, 1)], kind="bottleneck", squeeze="inside", bn=False, bias=True)
    g.refresh_shapes()
    subject = open_shrinkable(g, heads=False, manager=PassManager(verify=False))
    names = [channels.name for channels in subject.sets]
    assert len(names) == 2
    for of in ("madds", "params"):
        costs = subject.costs(names, of)
        for share in (0.5, 0.25):
            widths = [max(1, int(one.count * share)) for one in subject.sets]
            narrowing = Narrowing(Original(subject.graph, images(8)))
            for name, width in zip(names, widths, strict=True):
                narrowing.narrow(name, width)
            narrowing.result.cleanup()
            narrowing.result.refresh_shapes()
            assert costs.of(widths) == getattr(profile(narrowing.result), of), (of, share)


def test_more_budget_means_less_error() -> None:
    g = network()
    much, little = (
        shrink(g, images(40), parse_budget(text), QUICK).error for text in ("0.9x", "0.4x")
    )
    assert much < little


def test_the_curve_alone_makes_nothing() -> None:
    g = network()
    found = shrink(g, images(), parse_budget("0.6x"), QUICK, only_curve=True)
    assert found.graph is g
    assert [cost for cost, _ in found.curve] == sorted((c for c, _ in found.curve), reverse=True)
    assert [error for _, error in found.curve] == sorted(error for _, error in found.curve)


def test_budgets_out_of_reach_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--budget 0.01x: .* the least that can be reached is"):
        shrink(network(), images(), parse_budget("0.01x"), QUICK)


BAD = {
    "one": (images(1), "found 1 image; wanted at least 2"),
    "colour": (np.ones((4, 3, 16, 16), "f4"), "every image is of one colour"),
    "same": (np.repeat(images(1), 4, axis=0), "all images are the same"),
    "nan": (np.full((4, 3, 16, 16), np.nan, "f4"), "NaN or infinity"),
}


@pytest.mark.parametrize("case", BAD)
def test_images_that_nothing_can_be_fitted_to(case: str) -> None:
    x, words = BAD[case]
    with pytest.raises(DataError, match=words):
        shrink(network(), x, parse_budget("0.6x"), QUICK)


def test_one_row_of_values_has_no_variance_to_be_judged_by() -> None:
    """Of few images two are held out; the error of values is then a share of how they vary."""
    g = network()
    del g.manifest["task"]
    with pytest.raises(DataError, match="give at least 4 images, 2 of them held out"):
        shrink(g, images(3), parse_budget("0.6x"), QUICK)
    for count, held in ((2, 1), (3, 1), (4, 2), (9, 2), (10, 2), (20, 4)):
        assert [len(part) for part in split_images(images(count), QUICK)] == [count - held, held]
    assert shrink(g, images(4), parse_budget("0.9x"), QUICK).error < 100


def test_a_budget_above_the_network_is_told(caplog: pytest.LogCaptureFixture) -> None:
    g = network()
    found = shrink(g, images(), parse_budget("2x"), QUICK, only_curve=True)
    assert found.before == found.after
    assert "MAdds already: nothing has to go" in caplog.text


def test_the_network_that_is_read_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = network().save(tmp_path / "net.onnx")
    before = file.read_bytes()
    (tmp_path / "link.onnx").symlink_to(file)
    for name in ("net.onnx", "link.onnx"):
        assert run(["shrink", str(file), "-o", str(tmp_path / name)]) == 2
        assert "that is MODEL itself, which would be lost" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_too_few_pixels_leave_a_block_whole() -> None:
    g = network()
    found = shrink(g, images(3, 16), parse_budget("0.9x"), QUICK)
    assert "at least" in found.left["b3_ex"]


def test_a_network_without_channels_of_its_own_is_refused() -> None:
    g = graph("(float[N,3,8,8] x) => (y) <float[4,3,1,1] a> { y = Conv(x, a) }")
    with pytest.raises(UnsupportedGraphError, match="y is an output of the network"):
        shrink(g, images(4, 8), parse_budget("0.6x"), QUICK)


def pictures(folder: Path) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return ["--data", f"pictures:{folder}"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "images")
    path = network().save(tmp_path / "net.onnx")
    options = ["--set", "shrink.multiple=2", "--effort", "2", "--budget", "0.7x"]
    assert run(["shrink", str(path), *data, *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == str(tmp_path / "net.small.onnx")
    assert said["madds_after"] <= said["budget"] < said["madds_before"]
    assert {"name", "was", "is", "madds_saved", "error"} <= set(said["blocks"][0])
    assert {"madds", "error"} == set(said["curve"][0])
    assert Graph.load(said["model"]).manifest["shrink"]["error"] == said["error"]
    assert run(["shrink", str(path), *options]) == 2
    assert "--data pictures:FOLDER" in capsys.readouterr().err


def test_the_command_heals_and_says_at_once_what_could_not_be_healed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network().save(tmp_path / "net.onnx")
    options = [*pictures(tmp_path / "images"), "--set", "shrink.multiple=2", "--effort", "0"]
    options += ["--set", "heal.batch_size=4", "--heal", "1", "--json"]
    assert run(["shrink", str(path), *options]) == 0
    healed = json.loads(capsys.readouterr().out)["healed"]
    assert healed["error"] <= healed["start"]
    small = (tmp_path / "net.small.onnx").read_bytes()
    assert run(["shrink", str(path), *options]) == 2
    assert "net.small.heal: exists already; healing keeps" in capsys.readouterr().err
    again = [*options, "-o", str(tmp_path / "other.onnx"), "--set", "heal.precision=16-mixed"]
    assert run(["shrink", str(path), *again, "--set", "heal.device=cpu"]) == 2
    assert "precision 16-mixed: only CUDA devices have it" in capsys.readouterr().err
    assert (tmp_path / "net.small.onnx").read_bytes() == small
    assert not (tmp_path / "other.onnx").exists()


def test_a_budget_of_latency_is_met_by_the_network_that_is_made() -> None:
    """A clock that counts MAdds and a fixed part: 1 ms and 1 ms for each 100,000."""
    made: list[Graph] = []

    def clock(graph: Graph) -> float:
        made.append(graph)
        return 1.0 + profile(graph, (16, 16)).madds / 1e5

    def timed(graph: Graph, budget: str) -> ShrinkResult:
        return shrink_to_several(
            graph, images(), parse_budget(budget, "latency"), QUICK, timer=clock
        )[0]

    g = network()
    found = timed(g, "0.8x")
    assert found.latency is not None
    assert found.latency.before == clock(g)
    assert found.latency.budget == pytest.approx(0.8 * clock(g))
    assert 0.9 * found.latency.budget < found.latency.after <= found.latency.budget
    assert found.latency.after == clock(found.graph)
    assert found.as_json()["latency_ms"]["after"] == found.latency.after
    with pytest.raises(UsageError, match="quickest network"):
        timed(g, "0.5ms")
    whole = timed(g, "2x")
    assert whole.after["madds"] == whole.before["madds"]


def test_a_budget_of_latency_that_is_missed_is_told() -> None:
    """A clock that finds every network that is made 9 ms slower than those it was chosen by."""
    asked = 0

    def clock(graph: Graph) -> float:
        nonlocal asked
        asked += 1
        chosen_by = 2 + HALVINGS  # the network itself, the quickest, and those between
        return 1.0 + profile(graph, (16, 16)).madds / 1e5 + 9.0 * (asked > chosen_by)

    budget = parse_budget("0.8x", "latency")
    (found,) = shrink_to_several(network(), images(), budget, QUICK, timer=clock)
    assert found.latency is not None
    assert found.latency.after > found.latency.budget
    (finding,) = found.findings
    assert finding.kind == "latency-above-budget"


def test_a_budget_of_latency_is_measured_in_onnxruntime() -> None:
    found = shrink(network(), images(), parse_budget("1000ms", "latency"), QUICK)
    assert found.latency is not None
    assert 0 < found.latency.after < 1000


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stopped_shrink_goes_on_to_the_same_file(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, x, budget = network(), images(), parse_budget("0.6x")
    matters = digest(g, x, "0.6x", QUICK)
    whole = shrink(g, x, budget, QUICK)
    path = tmp_path / "small.shrink.json"
    journal = Journal(path, matters)
    written = journal._write
    times = iter(range(100))

    def stop() -> None:
        written()
        if next(times) == after - 1:
            raise StoppedError

    monkeypatch.setattr(journal, "_write", stop)
    with pytest.raises(StoppedError):
        shrink(g, x, budget, QUICK, journal=journal)
    again = Journal(path, matters, resume=True)
    assert len(again.known) + len(again.verdicts) == after
    resumed = shrink(g, x, budget, QUICK, journal=again)
    assert resumed.graph.to_model() == whole.graph.to_model()
    assert resumed.curve == whole.curve


def test_measurements_of_something_else_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "small.shrink.json"
    g, x = network(), images()
    with pytest.raises(UsageError, match="nothing was begun"):
        Journal(path, digest(g, x, "0.6x", QUICK), resume=True)
    Journal(path, digest(g, x, "0.6x", QUICK)).note_network((8,), Verdict(0.5, np.ones(2)))
    with pytest.raises(UsageError, match="other images"):
        Journal(path, digest(g, x + 1, "0.6x", QUICK), resume=True)
    path.write_text(path.read_text()[:40])
    with pytest.raises(UsageError, match="not the measurements"):
        Journal(path, digest(g, x, "0.6x", QUICK), resume=True)
