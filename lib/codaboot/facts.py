"""What the kernel tells: the mount table and the command line, below a root prefix."""

import errno
import os


class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)). `device` is "MAJOR:MINOR"."""

    def __init__(self, device, subtree, target, options, fstype, source, super_options):
        self.device, self.subtree, self.target, self.options = device, subtree, target, options
        self.fstype, self.source, self.super_options = fstype, source, super_options


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
    if "\\" not in text:
        return text
    import re
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


def inside(root, path):
    """Where `path` leads for a process whose / is the directory `root`, as seen from here.

    Absolute targets of links start at `root` again, and ".." ends there, as after chroot(2).
    Raises OSError, whose filename is what could not be followed.
    """
    done, todo, links = [], path.split("/")[::-1], 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        here = os.path.join(root, *done, part)
        try:
            target = os.readlink(here)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: no link
                raise
            done.append(part)
            continue
        links += 1
        if links > 40:  # as the kernel, path_resolution(7)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here)
        if target.startswith("/"):
            done.clear()
        todo += target.split("/")[::-1]
    return os.path.join(root, *done)
