"""What every training shares: runtime, optimizers, steps, checkpoints, log."""
