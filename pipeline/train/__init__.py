"""Training: the loop, its schedules, checkpoints, metrics and the run directory's lease."""
