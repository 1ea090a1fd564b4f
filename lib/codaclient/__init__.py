"""What commands know of Coda's client: what its tools say, and the socket on which venus talks."""
