"""The parts of the report, one function each: from a run's files to HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fnac.report.drawing import Drawing, to_svg
from fnac.report.findings import findings_of
from fnac.report.html import Html, details, element, join, missing, picture, raw, section, table
from fnac.report.network import Network
from fnac.report.plots import Picture
from fnac.report.run_folder import RunFolder
from fnac.text import MADDS_NOTE, human, percent

FACTS = {
    "task": "adapt.task",
    "data": "adapt.data",
    "head": "expand.head",
    "classes": "expand.classes",
    "size": "expand.size",
    "budget": "adapt.budget",
    "remap": "expand.remap",
    "recipe": "adapt.recipe",
    "seed": "adapt.seed",
}
"""What the header tells -> the setting that says it."""
COUNTS = ("madds", "params")
MOST_PREDICTIONS = 12


def header(run: RunFolder) -> Html:
    """Task, data, head, budget; then the figures that matter, seed against target."""
    facts = [
        element("div", join([element("dt", name), element("dd", value)], ""))
        for name in FACTS
        if (value := fact(run, name)) is not None
    ]
    parts: list[object] = [
        element("h1", f"fnac: {run.path.resolve().name}"),
        element("dl", join(facts), cls="facts"),
        _cards(run),
    ]
    parts.insert(1, verdict(run))
    if rows := _result_rows(run):
        parts.append(_results_table(rows))
    else:
        parts.append(missing("Results (results.json)"))
    parts.append(element("p", f"{MADDS_NOTE}; whole network, exact counting.", cls="note"))
    return element("header", join(parts))


def fact(run: RunFolder, name: str) -> str | None:
    """One setting of the run in words: from its configuration, else from the manifest."""
    section, _, setting = FACTS[name].partition(".")
    value = (run.config.get(section) or {}).get(setting)
    if value is None:
        key = {"classes": "num_classes", "seed": "name"}.get(name, name)
        value = run.manifest.get(key)
    if isinstance(value, Mapping):
        value = value.get("name", value.get("spec"))
    if name == "size" and isinstance(value, (list, tuple)):
        return "×".join(map(str, value))
    return None if value is None or isinstance(value, (list, tuple)) else str(value)


def findings(run: RunFolder) -> Html:
    """The box of findings; nothing if there are none."""
    texts = [*map(str, findings_of(run)), *run.problems]
    if not texts:
        return raw("")
    items = element("ul", join([element("li", text) for text in texts]))
    box = join([element("b", "Read this first"), items])
    return element("div", box, cls="warnings", role="note")


def architecture(run: RunFolder, drawing: Drawing | None) -> Html:
    """Seed and target block by block."""
    title = "Architecture"
    if drawing is None:
        return section(title, missing("Super network (super.onnx)"))
    note = (
        "Colour: kernel; height: expansion; thin dashed outline: skip; dashed box: one stage. "
        "S: stride, D: dilation. Hover a block for its layer and cost."
    )
    parts: list[object] = [element("div", raw(to_svg(drawing)), cls="wide")]
    if run.arch is None:
        parts.append(missing("Target (arch.json)"))
    return section(title, *parts, element("p", note, cls="note"))


def stages(run: RunFolder, charts: Sequence[Picture]) -> Html:
    """MAdds of each stage: chart and table, with fixed parts and total."""
    title = "MAdds by stage"
    network = run.network
    if network is None:
        return section(title, missing("Super network (super.onnx)"))
    seed = network.seed_choices
    rows = []
    for stage in dict.fromkeys(layer.stage for layer in network.layers):
        costs = [network.cost(arch, stage).madds for arch in (seed, run.arch) if arch is not None]
        rows.append(_change_row(f"stage {stage}", costs))
    fixed = [network.fixed_madds] * (1 if run.arch is None else 2)
    rows.append(_change_row("fixed (stem, head, ...)", fixed))
    whole = [network.cost(arch).madds for arch in (seed, run.arch) if arch is not None]
    rows.append(_change_row("whole network", whole))
    heading = ["", "seed", "target", "change"] if run.arch else ["", "seed"]
    costs_table = table(heading, rows, range(1, 4))
    return section(title, element("div", join([*_pictures(charts), costs_table]), cls="charts"))


def search(run: RunFolder, charts: Sequence[Picture]) -> Html:
    """Search curves and final alphas."""
    parts: list[object] = [_charts(charts)] if charts else []
    if run.search is None:
        parts.append(missing("Search (search/metrics.csv)"))
    if run.alphas is None:
        parts.append(missing("Alphas (search/alphas.csv)"))
    return section("Search", *parts)


def tuning(run: RunFolder, charts: Sequence[Picture]) -> Html:
    """Tuning curves."""
    if run.tune is None:
        return section("Tuning", missing("Tuning (tune/metrics.csv)"))
    return section("Tuning", _charts(charts))


def predictions(run: RunFolder) -> Html:
    """Sample predictions next to the truth, as the task drew them."""
    if not run.predictions:
        return section("Predictions", missing("Predictions (pictures/prediction_*.png)"))
    shown = run.predictions[:MOST_PREDICTIONS]
    grid = element(
        "div", join([picture(file.read_bytes(), file.stem) for file in shown]), cls="charts"
    )
    rest = len(run.predictions) - len(shown)
    note = element("p", f"{rest} more in pictures/.", cls="note") if rest else raw("")
    return section("Predictions", grid, note)


def environment(run: RunFolder) -> Html:
    """Versions, machine, resolved configuration."""
    if run.env is None:
        env: Html = missing("Environment (env.json)")
    else:
        env = element("pre", json.dumps(run.env, indent=2, ensure_ascii=False))
    if run.config_text is None:
        config: Html = missing("Configuration (config.yaml)")
    else:
        config = details("Resolved configuration", element("pre", run.config_text))
    return section("Environment and configuration", env, config)


def _cards(run: RunFolder) -> Html:
    seed, target = (_figures(run, side) for side in ("seed", "target"))
    cards = []
    for key in [key for key in (*target, *seed) if key not in COUNTS][:1] + list(COUNTS):
        before, after = seed.get(key), target.get(key)
        if after is None and before is None:
            continue
        shown = " → ".join(_figure(key, value) for value in (before, after) if value is not None)
        if before is None or after is None:
            note = "seed" if after is None else "target"
        else:
            note = "seed → target"
            if key in COUNTS:
                note += f", {percent(after, before)}"
        body = [element("span", _spelled(key)), element("b", shown), element("span", note)]
        cards.append(element("div", join(body), cls="card"))
    return element("div", join(cards), cls="cards")


def _figures(run: RunFolder, side: str) -> dict[str, float]:
    """Metric, MAdds and params of seed or target: as measured, else from the manifest's costs."""
    figures: dict[str, float] = {}
    network: Network | None = run.network
    arch = run.arch if side == "target" else (network.seed_choices if network else None)
    if network is not None and arch is not None:
        cost = network.cost(arch)
        figures = {"madds": cost.madds, "params": cost.params}
    if side == "target":
        counted = {key: run.profile[key] for key in COUNTS if _is_number(run.profile.get(key))}
        if _target_madds(run) is None:
            figures.update(counted)
    row = _result_rows(run).get(side, {})
    figures.update({key: value for key, value in row.items() if _is_number(value)})
    metric = [key for key in figures if key not in COUNTS]
    return {key: figures[key] for key in (*metric, *COUNTS) if key in figures}


def _target_madds(run: RunFolder) -> int | None:
    """The target's MAdds, whole network; None if neither arch nor results say it."""
    if run.network is not None and run.arch is not None:
        return run.network.cost(run.arch).madds
    target = run.results.get("target")
    madds = target.get("madds") if isinstance(target, dict) else None
    return int(madds) if isinstance(madds, (int, float)) else None


def _result_rows(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    """The measurements of seed and target, and further metrics of the target."""
    rows = {
        name: run.results[name]
        for name in ("seed", "target")
        if isinstance(run.results.get(name), dict) and run.results[name]
    }
    metric, baseline, extra = (run.results.get(key) for key in ("metric", "baseline", "extra"))
    if isinstance(metric, dict) and "target" in rows:
        more = extra if isinstance(extra, dict) else {}
        rows["target"] = {str(metric.get("name")): metric.get("value"), **rows["target"], **more}
        if isinstance(baseline, dict) and "seed" in rows:
            rows["seed"] = {str(metric.get("name")): baseline.get("value"), **rows["seed"]}
    return rows


def verdict(run: RunFolder) -> Html:
    """One sentence: the target against the seed's own architecture, equally tuned, and its cost."""
    metric, baseline = run.results.get("metric"), run.results.get("baseline")
    target, seed = run.results.get("target"), run.results.get("seed")
    if not isinstance(metric, dict) or not isinstance(target, dict):
        return raw("")
    name, value = metric.get("name"), float(metric.get("value", 0.0))
    text = f"Target {value:.2f} {name}"
    if isinstance(baseline, dict):
        gain = value - float(baseline["value"])
        text += f", the seed's own architecture {baseline['value']:.2f} ({gain:+.2f})"
    else:
        text += "; the seed's own architecture was not measured (fnac adapt without --no-baseline)"
    if isinstance(seed, dict) and seed.get("madds"):
        text += f", at {target['madds'] / seed['madds']:.1%} of the seed's cost"
    return element("p", f"{text}.", cls="verdict")


def _results_table(results: Mapping[str, Mapping[str, Any]]) -> Html:
    keys = list(dict.fromkeys(key for row in results.values() for key in row))
    columns = [
        key
        for key in keys
        if any(not isinstance(r.get(key), (dict, list)) for r in results.values() if key in r)
    ]
    rows = [
        [name.replace("_", " "), *(_figure(key, row.get(key)) for key in columns)]
        for name, row in results.items()
    ]
    return table(["", *map(_spelled, columns)], rows, range(1, len(columns) + 1))


def _spelled(key: str) -> str:
    words = {
        **{name.lower(): name for name in ("mIoU", "mAP", "AP", "PCKh@0.5", "PCK@0.2")},
        **{"madds": "MAdds", "params": "parameters"},
    }
    return words.get(key, key.replace("_", " "))


def _figure(key: str, value: Any) -> str:
    """A count as 24.52G, any other number with two decimals."""
    if not _is_number(value):
        return "" if value is None or isinstance(value, (dict, list)) else str(value)
    if key in COUNTS or isinstance(value, int):
        return human(value)
    return f"{value:.2f}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change_row(name: str, costs: Sequence[int]) -> list[str]:
    change = [percent(costs[1], costs[0])] if len(costs) == 2 else []
    return [name, *map(human, costs), *change]


def _charts(charts: Sequence[Picture]) -> Html:
    return element("div", join(_pictures(charts)), cls="charts")


def _pictures(charts: Sequence[Picture]) -> list[Html]:
    return [picture(chart.light, chart.caption, chart.dark) for chart in charts]
