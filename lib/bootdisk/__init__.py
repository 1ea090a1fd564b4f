"""The inside of coda-build-disk: what goes on the disk, the kernel's part, the image."""
