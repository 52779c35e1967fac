"""The floors of the building: who may import whom, and what start-up may load."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx
import pytest

from fnac.passes.registry import PASSES, resolve

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "adapt bench compare data derive emit eval expand export init inspect list predict profile "
    "report run-pass search shrink study tune verify"
).split()


# From the ground up: a room imports rooms of lower floors only, those of one floor know nothing of
# each other. A room is a folder, or a file that stands directly in the tree.
FLOORS = {
    "passes": [
        "decisions errors names",
        "files remap stored_layers",
        "graph",
        "base running",
        "shapes",
        "blocks",
        "registry manager prepare grow emit",
        "normalize cost",
        "heads super_network",
        "shrink",
    ],
    "models": ["errors bundled onnx_version yaml_text", "recipes seeds spaces to_onnx", "heads"],
    "fnac": [
        "ranks progress text errors findings importer",
        "names",
        "config data",
        "architectures tasks",
        "training report",
        "search",
        "stages",
        "adaptation inspection",
        "flow",
        "overview study",
        "api commands",
        "cli",
    ],
    "fnac/data": [
        "files matlab_files preprocessing source",
        "batches folders json_files transforms",
        "class_files loader",
        "sets",
        "account readers scenes",
        "spec",
    ],
    "fnac/importer": [
        "choice_module choice_points runtime",
        "building module",
        "ops writeback",
        "importing",
    ],
    "fnac/stages": [
        "heal_settings opening tune_settings",
        "deployment exporting shrinking",
        "derive emit evaluate expand heal search",
        "export shrink tune",
    ],
    "fnac/tasks": [
        "collapse divergence mean_iou network_check panels settings",
        "base overlay",
        "answers detection pose segmentation",
        "classification",
    ],
    "fnac/adaptation": [
        "history kept_files result settings",
        "plan",
        "calibrating estimate resuming",
        "folder",
        "single_stages",
        "adapt_run finding shrink_file",
        "dry_run strategies",
    ],
    "passes/blocks": [
        "candidate_names tensor_strides units",
        "block hidden_channels",
        "structure windows",
        "edit kinds",
        "find",
    ],
    "passes/graph": [
        "joint_names",
        "contract copying node_checks operators stored_numbers tensor_checks writing",
        "layout manifest model_checks",
        "free_sides inference inlining",
        "graph",
        "node_maker parts",
        "surgery",
        "convolution",
    ],
    "passes/remap": [
        "gram rules",
        "block_arrays fit",
        "eliminate fit_arrays fit_groups fit_window strategies",
        "hidden_width",
        "mbconv",
        "residual",
    ],
    "passes/emit": [
        "anchors clean convert_float16 detector_answers fold_batchnorm make_size_symbolic "
        "output_maps state_opset take_pixels",
        "anchor_nodes attach_keypoints attach_postprocess",
        "attach_detections",
    ],
    "fnac/training": [
        "digests heap mixing settings watchers",
        "run_log teacher",
        "checkpoints imitation kept_weights objectives optimizers runtime",
        "weight_steps",
        "loop",
        "finders",
    ],
    "fnac/search": [
        "comparison health sampler settings steering",
        "alpha_steps outcome",
        "run",
    ],
    "fnac/report": [
        "drawing html network",
        "architecture run_folder",
        "findings ledger plots",
        "parts",
        "page",
    ],
}
MOST_FILES = 12
PACKAGES = {"fnac": "fnac", "passes": "fnac.passes", "models": "fnac.models"}


def files(folder: str) -> list[Path]:
    """Return the source files below a folder of the project; there must be some."""
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder}: no source files; was the folder renamed?"
    return found


def imports(path: Path) -> list[tuple[str, int]]:
    """Return (module, relative level) of every import statement of a file."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def attributes(path: Path) -> set[str]:
    """Return every attribute that a file reads or writes, dotted where the owner is a name."""
    return {
        f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }


def test_nodes_are_made_in_one_place() -> None:
    calls = {
        path.name
        for path in files("passes")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "gs.Node"
    }
    assert calls == {"node_maker.py", "copying.py"}


def wirings(path: Path) -> list[str]:
    """Return the statements of a file that change what a node (or a graph) reads or computes."""

    def wires(place: ast.expr) -> bool:
        place = place.value if isinstance(place, ast.Subscript) else place
        return (
            isinstance(place, ast.Attribute)
            and place.attr in ("inputs", "outputs")
            and ast.unparse(place.value) != "self"
        )

    statements = []
    for node in ast.walk(ast.parse(path.read_text())):
        changed: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            for target in node.targets:
                changed += target.elts if isinstance(target, ast.Tuple) else [target]
        elif isinstance(node, ast.AugAssign):
            changed = [node.target]
        elif isinstance(node, ast.Delete):
            changed = node.targets
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changes = node.func.attr in ("append", "insert", "extend", "remove", "pop", "clear")
            changed = [node.func.value] if changes else []
        if any(wires(place) for place in changed):
            statements.append(ast.unparse(node))
    return statements


def test_nodes_are_rewired_in_one_folder() -> None:
    for folder in ("passes", "models", "fnac"):
        for path in files(folder):
            if path.parent != ROOT / "passes" / "graph":
                assert wirings(path) == [], f"{path}: graph/surgery.py has what it needs"


def test_a_rewiring_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text(
        "a.outputs[0] = b\nnode.op, node.inputs = 'Relu', [a]\ndel graph.outputs[1:]\n"
        "node.inputs.append(x)\ninputs[0] = c\nself.outputs = outputs\nb = node.inputs[0]\n"
    )
    assert len(wirings(source)) == 4


def test_the_graphsurgeon_graph_is_wired_by_the_graph_alone() -> None:
    for folder in ("passes", "models", "fnac", "benchmarks"):
        for path in files(folder):
            if path.parent.name != "graph":
                found = {a for a in attributes(path) if a == "gs" or a.endswith(".gs")}
                assert not found, f"{path}: {found}; Graph and graph/surgery.py have what it needs"


def readings(path: Path, key: str) -> list[str]:
    """Return the expressions of a file that read, write or drop an entry of a manifest."""
    tree = ast.parse(path.read_text())
    named = {key, *(name for name, value in CONSTANTS.items() if value == key)}
    read = []
    for node in ast.walk(tree):
        owner: ast.expr | None = None
        if isinstance(node, ast.Subscript):
            owner, entry = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            owner, entry = node.func.value, node.args[0]
            owner = owner if node.func.attr in ("get", "setdefault") else None
        if owner is None or not ast.unparse(owner).endswith("manifest"):
            continue
        if (isinstance(entry, ast.Constant) and entry.value in named) or (
            isinstance(entry, ast.Name) and entry.id in named
        ):
            read.append(ast.unparse(node))
    return read


CONSTANTS = {"LAYERS": "layers"}


def test_the_layers_of_a_manifest_are_read_in_one_place() -> None:
    known = {
        path.relative_to(ROOT).as_posix(): readings(path, "layers")
        for folder in ("passes", "models", "fnac", "benchmarks")
        for path in files(folder)
    }
    assert {path for path, read in known.items() if read} == {
        "passes/stored_layers.py",
        "passes/graph/manifest.py",  # what is said of a super network without any
    }


def test_a_second_reading_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text(
        'a = graph.manifest["layers"]\nb = manifest.get(LAYERS, ())\nc = table["layers"]\n'
    )
    assert readings(source, "layers") == ["graph.manifest['layers']", "manifest.get(LAYERS, ())"]


def nameless(path: Path) -> list[str]:
    """Return where a file calls something found, made or wanted, which says nothing of it."""
    words = ("found", "made", "wanted")
    return [
        f"{path}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id in words and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.arg) and node.arg in words)
    ]


def test_names_say_what_a_thing_is() -> None:
    paths = [path for folder in ("passes", "models", "fnac") for path in files(folder)]
    places = [place for path in paths for place in nameless(path)]
    assert places == [], "name the thing: block, profile, shape, classes"


def test_a_name_that_says_nothing_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("made = 1\ndef f(found: int) -> int:\n    return found + made\n")
    assert nameless(source) == [f"{source}:1", f"{source}:2"]


def test_settings_are_built_in_one_place() -> None:
    callers = {
        path.relative_to(ROOT).as_posix(): [
            node for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "build"
        ]
        for path in files("fnac")
    }  # fmt: skip
    assert {path: len(calls) for path, calls in callers.items() if calls} == {"fnac/config.py": 1}


def modules() -> dict[str, Path]:
    """Return every module of the project by its installed name."""
    named = {}
    for folder, package in PACKAGES.items():
        for path in files(folder):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            named[".".join([package, *parts]).removesuffix(".__init__")] = path
    return named


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the project's modules that a module imports, in functions and for types, too."""
    parts = name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            inner = {alias.name: f"{whole}.{alias.name}" for alias in node.names}
            names = [full if full in known else whole for full in inner.values()]
        yield from (module for module in names if module in known and module != name)


@functools.cache
def all_imports() -> nx.DiGraph:
    """Return the graph of the project's modules; an arrow points at what is imported."""
    known = modules()
    graph = nx.DiGraph()
    graph.add_nodes_from(known)
    for name, path in known.items():
        graph.add_edges_from((name, other) for other in imported(name, path, known))
    return graph


def room(module: str, tree: str) -> str | None:
    """Return the room of a module in a tree; None outside of it and for the tree's own face."""
    top, *below = tree.split("/")
    inner = module.removeprefix(".".join([PACKAGES[top], *below]) + ".")
    first = inner.split(".")[0]
    outside = inner == module or (tree == "fnac" and first in ("passes", "models"))
    return None if outside else first


@pytest.mark.parametrize("tree", FLOORS)
def test_imports_point_downwards(tree: str) -> None:
    floor = {name: n for n, rooms in enumerate(FLOORS[tree]) for name in rooms.split()}
    graph = all_imports()
    assert {room(module, tree) for module in graph} - {None} == set(floor)  # a room needs its floor
    for n, rooms in enumerate(FLOORS[tree]):
        print(f"{tree} {n}: {rooms}")
    arrows = {(room(a, tree), room(b, tree)) for a, b in graph.edges}
    upwards = [
        (a, b) for a, b in arrows if a is not None and b is not None and a != b
        and floor[b] >= floor[a]
    ]  # fmt: skip
    assert upwards == []


def test_no_circle_of_files() -> None:
    circles = [found for found in nx.strongly_connected_components(all_imports()) if len(found) > 1]
    assert circles == []


def test_a_circle_and_an_arrow_upwards_are_seen(tmp_path: Path) -> None:
    """The reading of imports sees those inside functions and those for types alone."""
    source = tmp_path / "one.py"
    source.write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from .two import Two\n"
        "def late() -> None:\n    from fnac.three import three\n    from . import four\n"
    )
    known = {f"fnac.{name}": source for name in ("one", "two", "three", "four")}
    assert set(imported("fnac.one", source, known)) == {"fnac.two", "fnac.three", "fnac.four"}


@pytest.mark.parametrize(
    "folder", ["passes", "fnac", "fnac/data", "fnac/tasks", "fnac/stages", "fnac/importer"]
)
def test_a_folder_is_a_room_not_a_heap(folder: str) -> None:
    assert 0 < len(list((ROOT / folder).glob("*.py"))) <= MOST_FILES


@pytest.mark.parametrize("folder", ["passes", "models"])
def test_lower_floors_import_nothing_of_the_project_absolutely(folder: str) -> None:
    for path in files(folder):
        for module, level in imports(path):
            first = module.split(".")[0]
            assert level > 0 or first not in ("fnac", "passes", "models"), f"{path}: {module}"


@pytest.mark.parametrize("folder", ["passes", "models"])
def test_lower_floors_do_not_climb_out_of_themselves(folder: str) -> None:
    for path in files(folder):
        depth = len(path.relative_to(ROOT / folder).parts)
        for module, level in imports(path):
            assert level <= depth, f"{path}: from {'.' * level}{module}"


def test_passes_know_no_torch() -> None:
    for path in files("passes"):
        heavy = {m.split(".")[0] for m, level in imports(path) if level == 0}
        assert not heavy & {"torch", "torchvision", "lightning_fabric", "click"}, path


def test_models_rewrite_no_graphs() -> None:
    for path in files("models"):
        heavy = {m.split(".")[0] for m, level in imports(path) if level == 0}
        assert not heavy & {"onnx_graphsurgeon", "onnxruntime", "click"}, path


def test_only_the_graph_door_reads_and_writes_onnx_files() -> None:
    # sessions.py writes a temporary file, for onnxruntime takes no model over 2 GB from memory
    doors = {ROOT / "passes" / "graph" / "graph.py", ROOT / "passes" / "running" / "sessions.py"}
    for folder in ("passes", "fnac"):
        for path in files(folder):
            text = path.read_text()
            uses = any(call in text for call in ("onnx.load(", "onnx.save(", "onnx.save_model("))
            assert path in doors or not uses, path


def test_starting_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, fnac, fnac.cli\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnx_graphsurgeon', 'torchvision', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_in_the_table_resolves(name: str) -> None:
    found = resolve(name)
    if isinstance(found, tuple):
        assert found
        assert all(one.name for one in found)
    else:
        assert found.name == name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    from click.testing import CliRunner

    from fnac.cli import cli

    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_lists_the_commands_in_the_order_of_work() -> None:
    import click

    from fnac.cli import ORDER, cli

    assert sorted(ORDER) == sorted(cli.commands)
    assert tuple(cli.list_commands(click.Context(cli))) == ORDER


def test_the_contract_names_every_command() -> None:
    from fnac.cli import cli

    assert sorted(cli.commands) == sorted(COMMANDS)


def test_every_package_is_installed() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"fnac": "fnac", "models": "fnac.models", "passes": "fnac.passes"}
    found = set()
    for top, package in folders.items():
        for path in (ROOT / top).rglob("__init__.py"):
            inner = path.parent.relative_to(ROOT / top).parts
            found.add(".".join([package, *inner]))
    assert set(settings["packages"]) == found


def error_classes(path: Path) -> list[str]:
    """Return the public exception classes that a file defines."""
    return [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]


@pytest.mark.parametrize("tree", PACKAGES)
def test_the_error_tree_is_the_tree(tree: str) -> None:
    """Errors are defined in one file a tree, whose docstring shows each."""
    inside = {"passes/shapes/arithmetic.py": ["UnknownError"]}  # never leaves its module
    home = ROOT / tree / "errors.py"
    shown = ast.get_docstring(ast.parse(home.read_text())) or ""
    assert [name for name in error_classes(home) if name not in shown] == []
    strays = {
        path.relative_to(ROOT).as_posix(): error_classes(path)
        for path in files(tree)
        if path != home and error_classes(path)
    }
    assert strays == {path: names for path, names in inside.items() if path.startswith(tree)}


def test_a_stray_error_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("class A(FnacError): ...\nclass _B(Exception): ...\nclass C(Base): ...\n")
    assert error_classes(source) == ["A"]


REFERENCE = re.compile(r":(mod|class|func|meth|attr|data):`~?([\w.]+)`")


def missing_modules(path: Path, package: str, known: Mapping[str, Path]) -> list[str]:
    """Return what ``:mod:`` in a file refers to and is not there; package: of the file."""
    missing = []
    for kind, name in REFERENCE.findall(path.read_text()):
        if kind != "mod":
            continue
        up = len(name) - len(name.lstrip("."))
        base = package.split(".")[: len(package.split(".")) - up + 1] if up else []
        whole = ".".join([*base, name.lstrip(".")])
        if whole not in known:
            missing.append(f"{path.name}: {name}")
    return missing


def test_docstrings_name_modules_that_are_there() -> None:
    known = modules()
    missing = []
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        missing += missing_modules(path, package, known)
    assert missing == []


def test_a_module_that_moved_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text('"""See :mod:`.two`, :mod:`..graph.three` and :mod:`fnac.passes.four`."""')
    known = {"fnac.passes.graph.three": source, "fnac.passes.blocks.two": source}
    assert missing_modules(source, "fnac.passes.blocks", known) == ["one.py: fnac.passes.four"]


def test_docs_name_files_that_are_there() -> None:
    """Scripts and folders of the project, in pages and in READMEs, by their path."""
    path = re.compile(r"`((?:benchmarks|passes|fnac|models|tests|docs)/[\w./-]+?)(?:[:`]| )")
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "models").rglob("*.md"), ROOT / "README.md"]
    pages += [ROOT / "benchmarks" / "README.md"]  # CONTRIBUTING.md names files to be made
    gone = {
        f"{page.name}: {name}"
        for page in pages
        for name in path.findall(page.read_text())
        if not (ROOT / name).exists()
    }
    assert gone == set()
