"""What the commands know of CMU's venus: its configuration, what it keeps, its tools' words, its socket."""
