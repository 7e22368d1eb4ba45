"""Training: the one loop, its checkpoints, its arithmetic and its seeds."""
