"""The canonical form: one pipeline and its rules."""
