"""Prepare a file that fnac did not write: open, normalize, find its head."""
