"""Read and write YAML by the core schema of version 1.2: what looks like a name or a text is one.

PyYAML reads version 1.1, where ``no`` is false, ``010`` is 8, ``1:30`` is 90, ``1e-3`` is a text
and a date is no text. Of two equal keys it takes the last without a word.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_CORE = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
"""Type -> what is one, and the letters that it may begin with."""


class _Loader(yaml.SafeLoader):
    """Builds plain values only."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged: set[int] = set()

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number; a zero in front says nothing of its base."""
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge ``<<`` into a mapping; ConstructorError for a key that is given twice."""
        if id(node) not in self._merged:  # what is merged stands beside what it is merged into
            self._merged.add(id(node))
            _check_keys(node)
        super().flatten_mapping(node)


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
            continue
        if (key.tag, key.value) in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{key.value}' is given twice; wanted it once", key.start_mark
            )
        seen.add((key.tag, key.value))


class _Dumper(yaml.SafeDumper):
    """Puts quotes about texts that either version of YAML would read as something else."""


_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0].rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_core_int)
for _name, (_pattern, _first) in _CORE.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )


def dump_yaml(value: Any, *, in_line: bool = False) -> str:
    """Return plain values as a YAML document that ``load_yaml`` reads back as they are.

    in_line  in one line, mappings and lists in brackets
    """
    form = {"default_flow_style": True, "width": 10_000} if in_line else {"sort_keys": False}
    return str(yaml.dump(value, Dumper=_Dumper, **form))


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document; yaml.YAMLError says what is wrong with it."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (RecursionError, ValueError) as error:
        raise yaml.YAMLError(str(error)) from error
