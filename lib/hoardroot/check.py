"""Could a client do with what it has? Each needed object against venus's cache."""

import os

from hoardroot.profile import with_parents


def names(directory):
    """The names in a directory whose data is in the cache: venus needs no server for that."""
    with os.scandir(directory) as entries:
        return {entry.name: entry.inode() for entry in entries}


class Check:
    """The answer for one profile: `needed` is how many objects, `missing` their paths and why."""

    def __init__(self, cache, found, root, ask):
        """`ask(paths)` settles which of those in the cache are whole."""
        self.cache, self.root, self.ask = cache, root, ask
        self.inodes, self.missing, self.listings = cache.by_inode(), {}, {}
        seen = {path for path, kind in found.items() if kind == "see"}
        used = with_parents({path for path, kind in found.items() if kind != "see"}
                            | {os.path.dirname(path) for path in seen})
        self.needed = len(used | seen)
        # From the top, as only in a directory that is there can other names of an object be found.
        for path in sorted(used):
            self.whole(path)
        for path in seen - used:
            if not self.find(path):
                self.missing[path] = "not in the cache"
        for path, kind in found.items():
            if kind == "all":
                self.tree(path)

    def find(self, path):
        """The path under which the cache has `path`, or None.

        An object with several names, by hard links, has one in the cache. The directory, which is
        in the cache, tells which object a name is.
        """
        if path in self.cache.objects:
            return path
        folder = os.path.dirname(path)
        if folder in self.missing or folder not in self.cache.objects:
            return None
        if folder not in self.listings:
            self.listings[folder] = names(self.root + folder)
        return self.inodes.get(self.listings[folder].get(os.path.basename(path)))

    def whole(self, path):
        """Whether all of `path` is there; else it is noted as missing."""
        found = self.find(path)
        if found:
            self.ask([found])
            if self.cache.objects[found].whole:
                return True
        self.missing[path] = "only its attributes are in the cache" if found else "not in the cache"
        return False

    def tree(self, path):
        """All that is in the directory `path`, as far as its directories are there."""
        if path in self.missing or self.cache.objects[self.find(path)].kind != "d":
            return
        for name in names(self.root + path):
            if name in (".", ".."):
                continue
            below = f"{path.rstrip('/')}/{name}"
            self.needed += 1
            if self.whole(below):
                self.tree(below)
