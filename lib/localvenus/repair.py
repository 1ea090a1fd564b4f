"""Two faults of the kernel's Coda file system that can be mended from here.

Both concern files that are open for writing, in Linux 6.0 and later.

O_APPEND and O_SYNC. coda_open() puts the flags into the container file after it was opened,
and reads and writes look at a copy made at open (f_iocb_flags): `>>` would overwrite. Setting
the same flags once more renews the copy.

Shared writable mappings. coda_file_mmap() exchanges the mapping of the file while mmap_region()
counts writable mappings in it (i_mmap_writable): what was added to the Coda inode is taken from
the container's. After the first such mapping of an open file is gone the count is -1, which means
"nobody may map this writable": mmap(2) fails with EPERM, even on the backing file. One mapping
of our own for each of theirs keeps the count from going below zero.
"""

import ctypes
import fcntl
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                       ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value
_PAGE = 4096

_COPIED = os.O_APPEND | os.O_SYNC | os.O_DSYNC


class Writing:
    """One file that is open for writing: `opens` times, `mappable` of them also for reading.

    `descriptors` are copies of ours, of open files whose flags have not been set right yet.
    """

    __slots__ = ("opens", "mappable", "descriptors")

    def __init__(self):
        self.opens = self.mappable = 0
        self.descriptors = []

    def opened(self, fd, readable):
        """The kernel has taken `fd`, which is now ours to close."""
        self.opens += 1
        self.mappable += readable
        self.descriptors.append(fd)

    def closed(self, readable):
        """One of the open files is closed; the kernel does not say which."""
        self.opens -= 1
        self.mappable -= readable
        if self.opens:
            self.renew_flags()
            # The oldest has had the time to get its flags, so it has none of these.
            done = self.descriptors[:1]
        else:
            done = self.descriptors
        for fd in done:
            os.close(fd)
        del self.descriptors[:len(done)]

    def renew_flags(self):
        """Make the flags count; a file that has had this done needs nothing any more."""
        kept = []
        for fd in self.descriptors:
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            if flags & _COPIED:
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)
                os.close(fd)
            else:
                kept.append(fd)
        self.descriptors = kept


class Mappings:
    """Our own mappings of files (by fid), at most `limit` in all."""

    def __init__(self, limit=20000):
        self.limit = limit
        self.count = 0
        self._held = {}

    def add(self, fid, fd):
        """Map the file `fd`, open for reading and writing, once more. Without success: no harm."""
        # PROT_READ | PROT_WRITE, MAP_SHARED. Nothing is ever read through it.
        where = _libc.mmap(None, _PAGE, 3, 1, fd, 0)
        if where == _FAILED:
            return
        self._held.setdefault(fid, []).append(where)
        self.count += 1
        while self.count > self.limit:
            self.drop(next(iter(self._held)))

    def drop(self, fid):
        """Let go of a file: it is removed, or others need the room."""
        for where in self._held.pop(fid, ()):
            _libc.munmap(where, _PAGE)
            self.count -= 1
