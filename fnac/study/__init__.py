"""Studies: many adaptations from one file, their table and their plots."""
