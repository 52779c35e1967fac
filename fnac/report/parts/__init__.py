"""The parts of the report, one question of its reader each: from a run's files to HTML."""
