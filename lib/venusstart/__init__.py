"""The inside of coda-venus-start, and of nothing else."""
