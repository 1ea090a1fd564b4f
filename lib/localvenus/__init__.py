"""The inside of coda-local-venus, and of nothing else: a stand-in Venus over a local directory."""
