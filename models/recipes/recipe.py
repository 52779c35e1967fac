"""Recipes: settings of a whole adaptation by name, in this folder's YAML files. No torch.

A recipe has a section for each stage (``export``, ``expand``, ``search``, ``derive``, ``tune``,
...); the keys are those of ``--set section.key=value``. Checking them is the product's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ModelError

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """Return the file of a bundled recipe; ModelError names the recipes there are."""
    if name not in recipe_names():
        raise ModelError(f"recipe {name!r}: no such recipe; there are: {', '.join(recipe_names())}")
    return FOLDER / f"{name}.yaml"


def load_recipe(name_or_path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a bundled recipe by its name or a YAML file by its path: section -> key -> value.

    Raises ModelError naming the file and what is wrong with it.
    """
    import yaml

    from ..yaml_text import load_yaml

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = recipe_path(str(name_or_path))
    try:
        loaded = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(loaded, dict) or not all(isinstance(v, dict) for v in loaded.values()):
        raise ModelError(f"{path}: wanted a section of keys for each stage")
    return loaded
