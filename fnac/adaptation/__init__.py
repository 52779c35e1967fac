"""An adaptation in its folder: settings, run folder, stages, result."""
