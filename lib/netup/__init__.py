"""The inside of coda-netup, and of nothing else."""
