"""The profile of a root: what of it a client needs, one line for each.

  one PATH   the object itself: a file, a directory with its names, a link
  see PATH   only its attributes: something looked whether it is there
  all PATH   a tree, with whatever is in it
"""

import os

from codaboot import cli

KINDS = ("see", "one", "all")  # each includes those before it
HEAD = "# coda-hoard-root 1\n"


def parse(text, name):
    """{path: kind}. Raises Failure."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, path = line.partition(" ")
        if line.startswith("#") or not line:
            continue
        if kind not in KINDS or not path.startswith("/") or ".." in path.split("/"):
            raise cli.UsageError(f"cannot use line {number} of '{name}': not one, see or all, and a path")
        add(found, path, kind)
    return found


def add(found, path, kind):
    """Note that `path` is needed in this way, unless it is in a larger one."""
    path = os.path.normpath(path)
    if KINDS.index(kind) >= KINDS.index(found.get(path, "see")):
        found[path] = kind


def text(found):
    """The lines of {path: kind}. A path with a line break in it cannot be said, and not be hoarded."""
    return HEAD + "".join(f"{kind} {path}\n" for path, kind in sorted(found.items()) if path.isprintable())


def with_parents(paths):
    """`paths` and every directory on the way to them."""
    found = set()
    for path in paths:
        while path not in found:
            found.add(path)
            path = os.path.dirname(path)
    return found


def commands(found, root, priority):
    """What hoard(1) reads: add lines. It knows no quoting, so a path with a space is left out."""
    lines, left = [], []
    for path, kind in sorted(found.items()):
        place = (root + path).rstrip("/")
        if " " in place or not place.isprintable():
            left.append(path)
        elif kind != "see":
            lines.append(f"add {place} {priority}{':d+' if kind == 'all' else ''}\n")
    return lines, left
