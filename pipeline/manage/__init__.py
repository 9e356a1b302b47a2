"""Looking after a workflow's artifacts: what would run and why, what may stay, what can go, how far training is."""
