"""How `fnac export` makes a seed: settings, and networks of libraries."""
