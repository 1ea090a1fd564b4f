"""What is used in a root: every file and directory that is opened while we look.

fanotify(7) tells each open on a file system, from a cache or not, whoever's root it is below.
Objects are known by their inode numbers, which venus's cache turns into paths: so neither
chroots nor an overlay above the root matter, which shows the numbers of what lies below it.
"""

import ctypes
import os
import struct

from codaboot import wait

LIBC = ctypes.CDLL(None, use_errno=True)
# linux/fanotify.h
FAN_CLOEXEC, FAN_UNLIMITED_QUEUE = 1, 0x10
FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 1, 0x100
FAN_OPEN, FAN_ONDIR = 0x20, 0x40000000
FAN_NOFD = -1


def events(data):
    """The descriptors in what was read from a fanotify descriptor (struct fanotify_event_metadata)."""
    while len(data) >= 24:
        size, _, _, _, _, descriptor, _ = struct.unpack_from("=IBBHQii", data)
        if descriptor != FAN_NOFD:
            yield descriptor
        data = data[size:]


def mapped(maps, device):
    """The inode numbers on `device` (MAJOR:MINOR as in /proc/PID/maps) that the text `maps` names."""
    rows = (line.split(None, 5) for line in maps.splitlines())
    return {int(row[4]) for row in rows if len(row) > 4 and row[3] == device}


class Recorder:
    """Records the inode numbers of what is opened on the file systems of some paths."""

    def __init__(self, paths):
        """Raises OSError."""
        self.seen, self.paths = set(), paths
        self.descriptor = LIBC.fanotify_init(FAN_CLOEXEC | FAN_UNLIMITED_QUEUE, os.O_RDONLY | os.O_CLOEXEC)
        if self.descriptor < 0:
            self._fail(paths[0])
        for path in paths:
            mask = ctypes.c_uint64(FAN_OPEN | FAN_ONDIR)
            if LIBC.fanotify_mark(self.descriptor, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, -100,
                                  os.fsencode(path)) < 0:
                self._fail(path)

    def _fail(self, path):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)

    def snapshot(self, proc):
        """What the processes that run already have mapped, or hold open, in Coda."""
        device = os.stat(self.paths[0]).st_dev
        column = f"{os.major(device):02x}:{os.minor(device):02x}"
        for pid in filter(str.isdigit, os.listdir(proc)):
            try:
                with open(f"{proc}/{pid}/maps", errors="replace") as file:
                    self.seen |= mapped(file.read(), column)
                for descriptor in os.listdir(f"{proc}/{pid}/fd"):
                    status = os.stat(f"{proc}/{pid}/fd/{descriptor}")
                    if status.st_dev == device:
                        self.seen.add(status.st_ino)
            except OSError:
                pass  # it ended meanwhile

    def read(self, deadline):
        """Take what happened; False when nothing did before the deadline."""
        if not wait.ready([self.descriptor], deadline):
            return False
        for descriptor in events(os.read(self.descriptor, 65536)):
            self.seen.add(os.fstat(descriptor).st_ino & 0xFFFFFFFF)
            os.close(descriptor)
        return True
