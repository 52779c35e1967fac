"""The parts of ``shrink``: settings, the working copy, the choice of widths."""
