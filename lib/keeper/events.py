"""What a keeper waits on: time that also passes asleep, and a name that appears in a directory."""

import ctypes
import os
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
CLOCK_BOOTTIME = 7  # linux/time.h
TFD_CLOEXEC = IN_CLOEXEC = os.O_CLOEXEC
IN_CREATE, IN_MOVED_TO = 0x100, 0x80  # linux/inotify.h


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Alarm:
    """A timer (timerfd_create(2)) that goes on while the machine sleeps, and minds no clock."""

    def __init__(self):
        self.descriptor = _checked(LIBC.timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC))

    def fileno(self):
        return self.descriptor

    def set(self, seconds):
        """Ring once, in `seconds`. To set it again also makes it silent."""
        value = struct.pack("4l", 0, 0, int(seconds), int(seconds % 1 * 1e9) or 1)
        _checked(LIBC.timerfd_settime(self.descriptor, 0, value, None))


    def clear(self):
        """Be silent again after a ring."""
        os.read(self.descriptor, 8)


class Appearance:
    """The making of names in a directory (inotify(7)), seen even when its path leads elsewhere later."""

    def __init__(self, folder):
        """`folder` is an open directory. Raises OSError."""
        self.descriptor = _checked(LIBC.inotify_init1(IN_CLOEXEC))
        _checked(LIBC.inotify_add_watch(self.descriptor, f"/proc/self/fd/{folder}".encode(),
                                        IN_CREATE | IN_MOVED_TO))

    def fileno(self):
        return self.descriptor

    def names(self):
        """The names that appeared; waits for the first."""
        data, found = os.read(self.descriptor, 65536), []
        while data:
            size = struct.unpack_from("I", data, 12)[0]
            found.append(os.fsdecode(data[16:16 + size].rstrip(b"\0")))
            data = data[16 + size:]
        return found
