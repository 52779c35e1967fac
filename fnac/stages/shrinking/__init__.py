"""The parts of ``shrink``: settings, the file as it is worked on, the choice of widths."""
