"""Studies: many adaptations by one file, their table and their plots."""
