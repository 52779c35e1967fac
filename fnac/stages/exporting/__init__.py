"""How `fnac export` creates a seed: settings, and networks of libraries."""
