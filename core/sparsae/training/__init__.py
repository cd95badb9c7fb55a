"""Training: the fit around an optimiser, checkpoints, results, observers."""
