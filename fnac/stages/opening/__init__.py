"""What a stage does to a found file before its own work: open, normalize, find its head."""
