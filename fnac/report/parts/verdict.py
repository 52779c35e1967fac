"""Did it work? The top of the page: verdict, figures, warnings, date and machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnac.report.findings import findings_of
from fnac.report.html import Html, element, join, missing, raw, table
from fnac.report.parts.facts import (
    COUNTS,
    FACTS,
    data_in_words,
    fact,
    figure,
    is_number,
    metric_of,
    seed_in_words,
    side,
    spelled,
    task_in_words,
)
from fnac.report.run_folder import RunFolder
from fnac.text import MADDS_NOTE, duration, percent


def title(run: RunFolder) -> str:
    """Return what the page is of: task, data set and seed."""
    data, seed = data_in_words(run), seed_in_words(run)
    words = task_in_words(run)
    words += f" of {data}" if data else ""
    return words + (f", from {seed}" if seed else "")


def header(run: RunFolder) -> Html:
    """Title, verdict, the main figures, and the run's settings."""
    facts = [
        element("div", join([element("dt", _named(run, name)), element("dd", value)], ""))
        for name in FACTS
        if name != "task" and (value := fact(run, name)) is not None
    ]
    parts: list[object] = [
        element("h1", title(run)),
        element("p", f"run {run.path.resolve().name}{_when_and_where(run)}", cls="note"),
        verdict(run),
        _cards(run),
        findings(run),
    ]
    if rows := _result_rows(run):
        parts.append(_results_table(rows))
    elif not run.single:
        parts.append(missing("Results (results.json)"))
    if not run.single:
        parts.append(
            element(
                "p",
                f"Metrics are in percent. {MADDS_NOTE}; whole network, exact counting.",
                cls="note",
            )
        )
    parts.append(element("dl", join(facts), cls="facts"))
    return element("header", join(parts))


def _named(run: RunFolder, name: str) -> str:
    """Return what a fact is called: the classes of a pose network are joints."""
    return "joints" if name == "classes" and fact(run, "task") == "pose" else name


def verdict(run: RunFolder) -> Html:
    """One sentence: the target against the seed's own architecture, equally tuned, and its cost."""
    metric, target = metric_of(run), side(run, "target")
    seed, baseline = side(run, "seed"), side(run, "baseline")
    tuned = run.manifest.get("tune")
    if run.single and isinstance(tuned, dict) and is_number(tuned.get("val")):
        text = f"Tuned to {tuned['val']:.2f} % {tuned.get('metric')} on the validation split"
        return element("p", f"{text}, in {tuned.get('steps')} steps.", cls="verdict")
    if metric is None or not target:
        return raw("")
    name, value = metric
    text = f"The target reaches {value:.2f} % {name}"
    if is_number(target.get("images")):
        text += f" on {target['images']} samples that it was not trained on"
    if is_number(baseline.get("value")):
        gain = value - float(baseline["value"])
        text += "; the seed's own architecture, tuned with the same schedule, "
        text += f"{baseline['value']:.2f} % ({gain:+.2f} points)"
    else:
        text += "; the seed's own architecture was not measured (fnac adapt without --no-baseline)"
    if seed.get("madds") and is_number(target.get("madds")):
        text += f". It costs {target['madds'] / seed['madds']:.1%} of the seed's multiply-adds"
        if is_number(run.speed.get("latency_ms")):
            text += f" and takes {run.speed['latency_ms']:.2f} ms an image"
            if machine := run.speed.get("latency_on"):
                text += f" on {machine}"
            if is_number(own := run.speed.get("baseline_latency_ms")):
                text += f" (the seed's own: {own:.2f} ms)"
    return element("p", f"{text}.", cls="verdict")


def findings(run: RunFolder) -> Html:
    """The box of findings; nothing if there are none."""
    texts = [*map(str, findings_of(run)), *run.problems]
    if not texts:
        return raw("")
    items = element("ul", join([element("li", text) for text in texts]))
    box = join([element("b", "Read this first"), items])
    return element("div", box, cls="warnings", role="note")


def _when_and_where(run: RunFolder) -> str:
    """Return date, duration, device and version, as far as they are known."""
    env = run.env if isinstance(run.env, dict) else {}
    parts = []
    if env.get("date"):
        parts.append(f"begun {str(env['date'])[:16].replace('T', ' ')} UTC")
    if run.times:
        parts.append(f"took {duration(sum(run.times.values()))}")
    if env.get("device"):
        device = "CPU" if env["device"] == "cpu" else env["device"]
        parts.append(f"on {device}, {env.get('cpu_count', '?')} cores")
    if env.get("fnac"):
        parts.append(f"fnac {env['fnac']}")
    return "".join(f" · {part}" for part in parts)


def _cards(run: RunFolder) -> Html:
    """Metric, cost, parameters, latency and size, the baseline's in front where it is known."""
    cards = []
    metric = metric_of(run)
    baseline: Any = side(run, "baseline").get("value")
    if metric is not None:
        name, value = metric
        note = "target" if not is_number(baseline) else f"baseline {float(baseline):.2f} % → target"
        cards.append((name, f"{value:.2f} %", note))
    seed, target = _costs(run, "seed"), _costs(run, "target")
    for key in COUNTS:
        before: Any = seed.get(key)
        after: Any = target.get(key)
        if before is None and after is None:
            continue
        shown = " → ".join(figure(key, v) for v in (before, after) if v is not None)
        both = before is not None and after is not None
        note = (
            f"seed → target, {percent(after, before)}" if both else "seed" if before else "target"
        )
        cards.append((spelled(key), shown, note))
    if is_number(run.speed.get("latency_ms")):
        note = "an image"
        own: Any = run.speed.get("baseline_latency_ms")
        before = f"{own:.2f} → " if is_number(own) else ""
        note = f"seed → target, {note}" if before else note
        cards.append(("latency", f"{before}{run.speed['latency_ms']:.2f} ms", note))
    if is_number(run.speed.get("size_bytes")):
        size: Any = run.speed.get("baseline_size_bytes")
        before = f"{size / 1e6:.2f} → " if is_number(size) else ""
        note = "seed → target" if before else "model.onnx"
        cards.append(("file", f"{before}{run.speed['size_bytes'] / 1e6:.2f} MB", note))
    built = [
        element("div", join([element("span", n), element("b", v), element("span", t)]), cls="card")
        for n, v, t in cards
    ]
    return element("div", join(built), cls="cards")


def _costs(run: RunFolder, name: str) -> dict[str, Any]:
    """Return MAdds and parameters of seed or target: as measured, else from the super network."""
    measured = {key: v for key in COUNTS if is_number(v := side(run, name).get(key))}
    arch = run.arch if name == "target" else (run.network.seed_choices if run.network else None)
    if run.network is not None and arch is not None:
        cost = run.network.cost(arch)
        return {"madds": cost.madds, "params": cost.params, **measured}
    if name == "target" and not measured:
        return {key: v for key in COUNTS if is_number(v := run.profile.get(key))}
    return measured


def _result_rows(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    """Return the measurements of target and baseline, and further metrics of the target."""
    metric, extra, rows = metric_of(run), side(run, "extra"), {}
    for name in ("seed", "baseline", "target"):
        row = dict(side(run, name))
        if not row:
            continue
        value = row.pop("value", None)
        row.pop("images", None)  # the verdict has them
        measured: dict[str, Any] = {}
        if metric is not None and name != "seed":
            measured = {metric[0]: metric[1] if name == "target" else value}
        rows[name] = {**measured, **row, **(extra if name == "target" else {})}
    if {"seed", "baseline"} <= rows.keys():  # one network: the seed's architecture, tuned
        rows["seed's own, tuned"] = {**rows.pop("seed"), **rows.pop("baseline")}
    return {name: rows[name] for name in ("target", "seed's own, tuned", "seed") if name in rows}


def _results_table(results: Mapping[str, Mapping[str, Any]]) -> Html:
    keys = list(dict.fromkeys(key for row in results.values() for key in row))
    columns = [
        key
        for key in keys
        if any(not isinstance(r.get(key), (dict, list)) for r in results.values() if key in r)
    ]
    rows = [
        [name, *(figure(key, row.get(key)) for key in columns)] for name, row in results.items()
    ]
    return table(["", *map(spelled, columns)], rows, range(1, len(columns) + 1))
