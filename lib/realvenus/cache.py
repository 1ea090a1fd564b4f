"""What venus has in its cache, asked in a way that fetches nothing.

`cfs listcache` goes through all of venus's objects and looks none up, so that it costs one call
for any number of them and no question to a server. A blank at the head of its line is an object
that is whole; a '*' one that is not, or has changes that were not sent yet, or has not been
compared with the server since it was last heard of. Of those few the mariner socket knows more.
"""

import re

from codaboot import cli, run, wait

PATIENCE = 60


class Cached:
    """An object in the cache: its type ("f", "d", "s"), its fid, whether it is surely whole."""

    def __init__(self, kind, fid, whole):
        self.kind, self.fid, self.whole = kind, fid, whole


def parse_listing(text):
    """The output of cfs listcache -l as {volume: {path in it, "" for its root: Cached}}."""
    volumes, number, objects = {}, None, {}
    for line in text.splitlines():
        head = re.fullmatch(r"\S.*: ([0-9a-f]{8})", line)
        if head and line[1:2] != " ":
            number, objects = head[1], {}
            volumes[number] = objects
        elif number and line[1:2] == " " and "  " in line[4:]:
            path, fid = line[5:].rsplit("  ", 1)
            objects[path] = Cached(line[2], fid, line[0] == " ")
    return volumes


def inode(fid):
    """The inode number the kernel shows for a fid REALM.VOLUME.VNODE.UNIQUE (linux/coda.h, coda_f2i)."""
    realm, volume, vnode, unique = (int(part, 16) for part in fid.split("."))
    return (unique ^ vnode << 10 ^ volume << 20 ^ realm) & 0xFFFFFFFF


def parse_fid(text):
    """The fid and the realm in the output of cfs getfid for one path, or None."""
    match = re.search(r"FID = ([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)@(\S+)", text)
    return match and (f"{match[1]}.{match[2]}.{match[3]}", match[4])


def is_whole(lines):
    """Whether venus has all data of an object, by what it says to fidstat."""
    text = "\n".join(lines)
    sizes = re.search(r"cachefile = \[ \S+, (\d+)/(\d+) \]", text)
    return bool(re.search(r"\bdata = [1-9]", text) and sizes and sizes[1] == sizes[2])


class Cache:
    """The part of venus's cache that belongs to a directory in Coda; paths begin with "/"."""

    def __init__(self, root):
        """Ask venus. Raises Failure."""
        done = run.program(["cfs", "getfid", root], timeout=PATIENCE, ok=None)
        found = parse_fid(done.out)
        if not found:
            raise cli.Failure(f"cannot find '{root}' in Coda", (done.err.strip().splitlines() or [None])[-1])
        fid, self.realm = found
        volume, vnode, unique = fid.split(".")
        listing = run.program(["cfs", "listcache", "-l", "-all"], timeout=PATIENCE).out
        objects = parse_listing(listing).get(volume.zfill(8), {})
        top = next((path for path, one in objects.items() if one.fid.endswith(f".{vnode}.{unique}")), None)
        if top is None:
            raise cli.Failure(f"cannot find '{root}' in venus's cache",
                              "cfs listcache shows nothing of it; run this where venus runs, see the page")
        self.objects = {path[len(top):] or "/": one for path, one in objects.items()
                        if path == top or path.startswith(top + "/")}

    def by_inode(self):
        """{inode number: path}."""
        return {inode(one.fid): path for path, one in self.objects.items()}

    def settle(self, paths, mariner):
        """Find out of all `paths` that are not surely whole whether they are. Raises OSError."""
        for path in paths:
            one = self.objects[path]
            if not one.whole:
                # Venus writes this number's line last.
                mariner.say(f"fidstat {one.fid.partition('.')[2]}@{self.realm}")
                lines = mariner.until(wait.Deadline(PATIENCE),
                                      lambda line: "cachefile = " in line or " failed (" in line)
                one.whole = is_whole(lines)
