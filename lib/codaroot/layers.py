"""The layers over a shared root that make one client differ from another."""

import os
import stat

from codaroot.below import Below


def walk(top):
    """{path: lstat} of all that is below the directory `top`; no link is followed. Raises OSError."""
    below, found, todo = Below(top), {}, [""]
    try:
        while todo:
            directory = todo.pop()
            fd = below.at(directory)
            for name in sorted(os.listdir(fd)):
                path = f"{directory}/{name}" if directory else name
                found[path] = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(found[path].st_mode):
                    todo.append(path)
    finally:
        below.close()
    return found


def merged(layers):
    """{path: (number of its layer, lstat)} of what is seen in `layers`, walks, the uppermost first."""
    seen = {}
    for number, layer in enumerate(layers):
        for path, status in layer.items():
            above = path.rpartition("/")[0]
            # What an upper layer has in the place of a directory hides all that is below it.
            shown = not above or above in seen and stat.S_ISDIR(seen[above][1].st_mode)
            if shown and path not in seen:
                seen[path] = number, status
    return seen
