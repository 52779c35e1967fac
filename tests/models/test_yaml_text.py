"""YAML is read by the core schema of version 1.2."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from fnac.config import as_yaml
from fnac.models.yaml_text import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("-3", -3),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("96x128", "96x128"),
        ("nan", "nan"),
        ("~", None),
        ("", None),
    ],
)
def test_a_scalar(text: str, value: Any) -> None:
    read = load_yaml(text)
    assert (type(read), read) == (type(value), value)


def test_numbers_that_are_none() -> None:
    assert load_yaml("-.inf") == -math.inf
    assert math.isnan(load_yaml(".nan"))


def test_a_key_is_given_once() -> None:
    with pytest.raises(yaml.YAMLError, match="'lr' is given twice; wanted it once"):
        load_yaml("tune: {lr: 1, epochs: 2, lr: 3}")
    assert load_yaml("a: &x {b: 1}\nc: {<<: *x, b: 2}")["c"] == {"b": 2}
    chain = "a: &x {b: 1, c: 1}\nd: &y {<<: *x, b: 2}\ne: {<<: *y}\nf: {<<: [*x, *y]}"
    assert load_yaml(chain)["e"] == {"b": 2, "c": 1}


@pytest.mark.parametrize("text", ["a: [", "- " + "9" * 5000, "[" * 3000])
def test_what_cannot_be_read_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_what_is_written_is_read_again() -> None:
    texts = ["no", "010", "1:30", "2026-01-01", "1e-3", "1_000", "0o7", "~", ".nan"]
    value = {"a": texts, "b": [1e-5, 1e20, 0.1], "c": 3, "d": None, "e": True}
    assert load_yaml(as_yaml(value).decode()) == value
