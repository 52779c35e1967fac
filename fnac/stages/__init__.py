"""The stages: one module a stage, each on files and frozen settings (order: fnac/flow.py)."""
