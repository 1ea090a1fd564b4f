"""The inside of coda-open-consoles, and of nothing else."""
