"""Trees for tests: every kind of object, made at random or by hand, and what Coda makes of them."""

import contextlib
import os
import stat
import struct
from pathlib import Path

from hypothesis import strategies as st

NOBODY = 65534
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
NAMES = st.sampled_from(["a", "b", "c d", "é", "\udcff", "#=\\*", "new\nline", "f@sys", "n" * 200, ".coda-x"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(["file"] * 4 + ["dir"] * 3 + ["link", "fifo", "socket", "char", "hard", "hard"])
MODES = st.sampled_from([0o644] * 3 + [0o755] * 3 + [
    0o600, 0o640, 0o664, 0o604, 0o700, 0o711, 0o750, 0o4755, 0o2755, 0o1777, 0o6711, 0o044, 0, 0o777])
OWNERS = st.sampled_from([0, 0, 0, 33])
XATTRS = st.sampled_from([None] * 4 + ["user.note", "security.capability", "acl"])
OBJECTS = st.tuples(PATHS, KINDS, MODES, OWNERS, OWNERS, XATTRS, st.integers(0, 2**32))
TREES = st.lists(OBJECTS, max_size=14)
TIME = 1_700_000_000


def acl(*rights):
    """An access control list that gives user 33 the last of `rights`, others the ones before."""
    owner, group, others, user = rights
    rows = [(1, owner, -1), (2, user, 33), (4, group, -1), (16, 7, -1), (32, others, -1)]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, number & 0xFFFFFFFF) for tag, bits, number in rows)


def build(top, objects):
    """Make the directory `top` and the `objects` that can be made in it. Needs root."""
    top = Path(top)
    top.mkdir(parents=True)
    top.chmod(0o755)
    made = []
    for path, kind, mode, uid, gid, xattr, number in objects:
        path = top / path
        if any(os.path.islink(above) for above in path.parents) or os.path.lexists(path):
            continue
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, kind, mode, uid, gid, xattr, number, made)
            if kind != "dir" and os.path.lexists(path):
                made.append(path)
    for directory, _, names in os.walk(top, topdown=False):
        for name in [*names, ""]:
            path = os.path.join(directory, name) if name else directory
            os.utime(path, (TIME, TIME + len(path) % 7), follow_symlinks=False)
    return top


def put(path, kind, mode, uid, gid, xattr, number, made):
    """Make one object; a "hard" is another name of one of those `made` before."""
    if kind == "hard":
        if made:
            os.link(made[number % len(made)], path, follow_symlinks=False)
        return
    if kind == "file":
        path.write_bytes(b"%d, unmistakable: " % number + os.fsencode(path.name))
    elif kind == "dir":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(["/etc/passwd", "../x", "t" * 1500, "bin.@cpu/sh"][number % 4])
    else:
        bits = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "char": stat.S_IFCHR}[kind]
        os.mknod(path, bits | 0o600, os.makedev(1, 3))
    os.chown(path, uid, gid, follow_symlinks=False)
    if kind == "link":
        return
    path.chmod(mode)
    if xattr == "acl" and kind in ("file", "dir"):
        os.setxattr(path, "system.posix_acl_access", acl(6, 4, 4, number % 8))
    elif xattr and kind == "file" or xattr == "user.note" and kind == "dir":
        os.setxattr(path, xattr, CAPABILITY if "cap" in xattr else b"\0 = note")


def everything(top):
    """{path: (what lstat and the rest tell)} of all below `top`, by the plain means of Python."""
    found = {}
    for directory, folders, names in os.walk(top):
        for name in [*folders, *names, *([""] if directory == str(top) else [])]:
            path = os.path.join(directory, name) if name else directory
            status = os.lstat(path)
            found[os.path.relpath(path, top)] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_rdev,
                int(status.st_mtime),
                Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else None,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else None,
                {each: os.getxattr(path, each, follow_symlinks=False)
                 for each in os.listxattr(path, follow_symlinks=False)})
    return found


def names_of_one(top):
    """The sets of paths that are one file."""
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            found.setdefault(os.lstat(path).st_ino, set()).add(os.path.relpath(path, top))
    return {frozenset(paths) for paths in found.values() if len(paths) > 1}


def crush(top):
    """Make of a populated directory what Coda would show of it. Needs root.

    Fails on what Coda could not have taken in at all.
    """
    for directory, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            assert stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), path
            if not stat.S_ISLNK(status.st_mode):
                for each in os.listxattr(path):
                    os.removexattr(path, each)
                os.chown(path, -1, NOBODY)
                os.chmod(path, status.st_mode & 0o777)
            os.utime(path, (status.st_atime // 1, status.st_mtime // 1), follow_symlinks=False)
    return top
