"""What the kernel tells: the mount table and the command line, below a root prefix."""

import os
import re
from typing import NamedTuple


class Mount(NamedTuple):
    """One line of mountinfo (proc_pid_mountinfo(5)). `device` is "MAJOR:MINOR"."""

    device: str
    subtree: str
    target: str
    options: frozenset
    fstype: str
    source: str
    super_options: frozenset


def parse_mountinfo(text):
    """The mounts in the text of /proc/self/mountinfo, in its order (a later one covers)."""
    mounts = []
    for row in text.splitlines():
        first, _, last = row.partition(" - ")
        a, b = first.split(" "), last.split(" ")
        mounts.append(Mount(
            a[2], _unescape(a[3]), _unescape(a[4]), frozenset(a[5].split(",")),
            b[0], _unescape(b[1]), frozenset(b[2].split(","))))
    return mounts


def _unescape(text):
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounts(root="/"):
    """The mount table now. Raises OSError without /proc."""
    with open(under(root, "/proc/self/mountinfo"), errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def mount_at(table, target):
    """The uppermost mount on exactly `target`, or None."""
    return next((m for m in reversed(table) if m.target == target), None)


def under(root, path):
    """`path`, an absolute one, below the prefix `root`."""
    return path if root == "/" else os.path.join(root, path.lstrip("/"))
