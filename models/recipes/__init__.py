"""Recipes: the settings of an experiment, as data."""

from __future__ import annotations

from .recipe import load_recipe, recipe_names, recipe_path

__all__ = ["load_recipe", "recipe_names", "recipe_path"]
