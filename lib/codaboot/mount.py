"""mount(2) and its family: the system calls Python has no name for.

Called directly, as mount(8) may not be there, costs a process, and hides the errno.
"""

import ctypes
import os

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT = 1, 2, 4, 8, 32
NOATIME, BIND, MOVE, REC, PRIVATE = 1024, 4096, 8192, 16384, 1 << 18
DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, fstype="", flags=0, data=None):
    """mount(2). Raises OSError, whose filename is `target`."""
    if isinstance(data, str):
        data = data.encode()
    arguments = (os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), data)
    if _libc.mount(*arguments) != 0:
        _fail(target)


def umount(target, flags=0):
    """umount2(2). Raises OSError."""
    if _libc.umount2(os.fsencode(target), flags) != 0:
        _fail(target)


def unshare_mounts():
    """A private mount namespace for this process and its children. Raises OSError."""
    if _libc.unshare(0x00020000) != 0:  # CLONE_NEWNS, sched.h
        _fail("/")
    mount("none", "/", "", REC | PRIVATE)


def _fail(target):
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), target)
