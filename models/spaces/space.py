"""Search spaces: the candidates of a layer and the depth of each stage. No torch.

The bundled ones are the YAML files beside this one (`mbconv-seg.yaml` explains the fields);
users write their own in the same form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import SpaceError

FOLDER = Path(__file__).parent
SPACE_OF_TASK = {"seg": "mbconv-seg", "det": "mbconv-det", "pose": "mbconv-pose"}
"""Space of MBConv networks for a task when the user says ``auto``; for others it is ``mbconv``."""

SPACE_OF_KIND = {
    "fused": "mbconv",
    "basic": "resnet",
    "bottleneck": "resnet",
    "region": "plain-depth",
    "plain": "plain",
}
"""Space of other networks when the user says ``auto``: of the first kind that they have."""


@dataclass(frozen=True)
class Space:
    """The choices of each layer; see mbconv-seg.yaml and resnet.yaml for the fields.

    ``candidates``  names without ``skip``: ``k5e6`` (kernel, expansion) is for MBConv blocks,
                    ``k5g2`` (kernel, groups) for residual and single convolutions, ``k5g2w1.5``
                    (and hidden channels, as multiples of the seed's) for residual blocks, ``k5``
                    for all; ``kup``: a kernel two larger than the layer's own. What a name means
                    the compiler says (``passes.blocks.candidate_names``), which also refuses a
                    name that means nothing

    Raises SpaceError naming the field that cannot be.
    """

    name: str
    candidates: tuple[str, ...]
    depths: tuple[int, ...] | None = None
    skip: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise SpaceError(
                f"{self.name}: candidates {list(self.candidates)}; wanted one or more, each once"
            )
        if self.depths is not None and (not self.depths or min(self.depths) < 1):
            raise SpaceError(
                f"{self.name}: depths {list(self.depths)}; wanted 1 or more layers for each stage"
            )


def space_names() -> list[str]:
    """Return the names of the bundled spaces."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def space_for(kinds: Collection[str], task: str | None) -> Space:
    """Return the bundled space for a network with blocks of these ``kinds``, and its task.

    An MBConv anywhere makes it an MBConv network. Raises SpaceError for an unknown task.
    """
    if task not in (None, "cls", *SPACE_OF_TASK):
        raise SpaceError(f"task {task!r}: no space is bundled for it; name one with --space")
    if "mbconv" not in kinds:
        for kind, space in SPACE_OF_KIND.items():
            if kind in kinds:
                return load_space(space)
    return load_space(SPACE_OF_TASK.get(task or "", "mbconv"))


def load_space(name_or_path: str | Path) -> Space:
    """Read a bundled space by its name, or a YAML file by its path.

    Raises SpaceError naming the file and the field, what was found and what is wanted.
    """
    text = str(name_or_path)
    bundled = text in space_names()
    path = FOLDER / f"{text}.yaml" if bundled else Path(name_or_path)
    if not path.is_file():
        raise SpaceError(
            f"space {text!r}: neither bundled ({', '.join(space_names())}) nor a file; "
            "give one of these names or the path of a YAML file"
        )
    return _space(path.stem if bundled else text, _mapping(path))


def _mapping(path: Path) -> dict[str, Any]:
    import yaml

    from ..yaml_text import load_yaml

    try:
        loaded = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SpaceError(f"{path}: not a YAML file ({reason})") from error
    if not isinstance(loaded, dict):
        raise SpaceError(f"{path}: {type(loaded).__name__} was found; wanted fields and values")
    return loaded


def _space(name: str, values: dict[str, Any]) -> Space:
    known = {field.name for field in fields(Space)} - {"name"} | {"kernels", "expansions"}
    for key in values:
        if key not in known:
            raise SpaceError(f"{name}: field {key!r} is not known; there are: {_list(known)}")
    skip, description = values.get("skip", True), values.get("description", "")
    if not isinstance(skip, bool):
        raise SpaceError(f"{name}: skip {skip!r}; wanted true or false")
    return Space(
        name=name,
        candidates=_candidates(name, values),
        depths=None if values.get("depths") is None else _numbers(name, "depths", values["depths"]),
        skip=skip,
        description=str(description),
    )


def _candidates(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Read ``candidates``, or every combination of ``kernels`` and ``expansions``."""
    given = {"kernels", "expansions"} & values.keys()
    if "candidates" in values:
        if given:
            raise SpaceError(
                f"{name}: candidates and {_list(given)}; wanted the names, or kernels and "
                "expansions, not both"
            )
        named = values["candidates"]
        if not isinstance(named, list) or not all(isinstance(item, str) for item in named):
            raise SpaceError(f"{name}: candidates {named!r}; wanted a list of names like k5e6")
        return tuple(named)
    missing = {"kernels", "expansions"} - given
    if missing:
        raise SpaceError(f"{name}: {_list(missing)} not given; wanted a list of numbers")
    kernels = _numbers(name, "kernels", values["kernels"])
    expansions = _fractions(name, "expansions", values["expansions"])
    for field, numbers in (("kernels", kernels), ("expansions", expansions)):
        if not numbers or len(set(numbers)) < len(numbers):
            raise SpaceError(f"{name}: {field} {list(numbers)}; wanted one or more, each once")
    if any(kernel % 2 == 0 or kernel < 1 for kernel in kernels):
        raise SpaceError(f"{name}: kernels {list(kernels)}; wanted odd sizes")
    if any(expansion < 1 for expansion in expansions):
        raise SpaceError(f"{name}: expansions {list(expansions)}; wanted 1 or more")
    return tuple(f"k{k}e{e:.10g}" for k in kernels for e in expansions)


def _numbers(name: str, field: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise SpaceError(f"{name}: {field} {value!r}; wanted a list of whole numbers")
    return tuple(value)


def _fractions(name: str, field: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise SpaceError(f"{name}: {field} {value!r}; wanted a list of numbers")
    return tuple(value)


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
