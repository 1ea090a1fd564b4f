"""The inside of coda-hoard-root, and of nothing else."""
