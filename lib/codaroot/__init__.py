"""A root in Coda: what of a system Coda can hold, and how the rest is kept and put back."""
