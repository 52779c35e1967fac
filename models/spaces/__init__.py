"""Search spaces: which candidates a layer has and how deep each stage becomes. No torch.

The bundled ones are the YAML files beside this one (`mbconv-seg.yaml` explains the fields);
users write their own in the same form.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import SpaceError

FOLDER = Path(__file__).parent
SPACE_OF_TASK = {"seg": "mbconv-seg", "det": "mbconv-det", "pose": "mbconv-pose"}
"""Space taken for a task when the user says ``auto``; without a task it is ``mbconv``."""


@dataclass(frozen=True)
class Space:
    """What may be chosen in each layer; see mbconv-seg.yaml for the fields.

    Raises SpaceError naming the field that cannot be.
    """

    name: str
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    depths: tuple[int, ...] | None = None
    skip: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        for field in ("kernels", "expansions"):
            values = getattr(self, field)
            if not values or len(set(values)) < len(values):
                raise SpaceError(
                    f"{self.name}: {field} {list(values)}; wanted one or more, each once"
                )
        if any(kernel % 2 == 0 or kernel < 1 for kernel in self.kernels):
            raise SpaceError(f"{self.name}: kernels {list(self.kernels)}; wanted odd sizes")
        if any(expansion < 1 for expansion in self.expansions):
            raise SpaceError(f"{self.name}: expansions {list(self.expansions)}; wanted 1 or more")
        if self.depths is not None and (not self.depths or min(self.depths) < 1):
            raise SpaceError(
                f"{self.name}: depths {list(self.depths)}; wanted 1 or more layers for each stage"
            )

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the candidates with blocks, ``k3e3`` to ``k7e6``; ``skip`` comes besides."""
        return tuple(f"k{k}e{e}" for k in self.kernels for e in self.expansions)


def space_names() -> list[str]:
    """Return the names of the bundled spaces."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def space_for_task(task: str | None) -> Space:
    """Return the bundled space for ``task``; raises SpaceError for a task without one."""
    if task is None or task == "cls":
        return load_space("mbconv")
    if task not in SPACE_OF_TASK:
        raise SpaceError(f"task {task!r}: no space is bundled for it; name one with --space")
    return load_space(SPACE_OF_TASK[task])


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

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SpaceError(f"{path}: not a YAML file ({reason})") from error
    if not isinstance(loaded, dict):
        raise SpaceError(f"{path}: {type(loaded).__name__} was found; wanted fields and values")
    return loaded


def _space(name: str, values: dict[str, Any]) -> Space:
    known = {field.name for field in fields(Space)} - {"name"}
    for key in values:
        if key not in known:
            raise SpaceError(f"{name}: field {key!r} is not known; there are: {_list(known)}")
    missing = {"kernels", "expansions"} - values.keys()
    if missing:
        raise SpaceError(f"{name}: {_list(missing)} not given; wanted a list of numbers")
    skip, description = values.get("skip", True), values.get("description", "")
    if not isinstance(skip, bool):
        raise SpaceError(f"{name}: skip {skip!r}; wanted true or false")
    return Space(
        name=name,
        kernels=_numbers(name, "kernels", values["kernels"]),
        expansions=_numbers(name, "expansions", values["expansions"]),
        depths=None if values.get("depths") is None else _numbers(name, "depths", values["depths"]),
        skip=skip,
        description=str(description),
    )


def _numbers(name: str, field: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise SpaceError(f"{name}: {field} {value!r}; wanted a list of whole numbers")
    return tuple(value)


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
