"""The stages: one module per stage, each on files and frozen settings (order: fnac/flow.py)."""
