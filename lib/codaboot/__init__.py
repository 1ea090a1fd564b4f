"""What the coda-* commands share, and nothing else: see HACKING.md, "The library"."""

VERSION = "0.1"
