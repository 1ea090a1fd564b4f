"""The inside of coda-keep-token, and of nothing else."""
