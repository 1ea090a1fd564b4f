"""A directory and what is below it, reached by descriptors: no symbolic link is ever followed.

Trees are data from a server or from a stranger, and this is work of root: were a directory
exchanged for a link meanwhile, a path would lead out of the tree.
"""

import errno
import os
import resource

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Below:
    """Descriptors of the directories below one; those on the way to the last are kept open."""

    def __init__(self, top, listing=True):
        """Raises OSError when `top` is no directory. It alone may be reached through links.

        Without `listing` the descriptors are only for finding names: in Coda, to open a directory
        that is to be listed makes venus write it all down.
        """
        # A tree may be deeper than the usual 1024 descriptors.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.top = top
        self._flags = _DIRECTORY if listing else _DIRECTORY | os.O_PATH
        self._names, self._fds = [], [os.open(top, self._flags & ~os.O_NOFOLLOW)]

    def at(self, path):
        """The descriptor of the directory `path` ("" is the top), valid until the next call."""
        names = path.split("/") if path else []
        same = 0
        for kept, wanted in zip(self._names, names, strict=False):
            if kept != wanted:
                break
            same += 1
        self._forget(same)
        for name in names[same:]:
            try:
                self._fds.append(os.open(name, self._flags, dir_fd=self._fds[-1]))
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"{self.top}/{path}") from None
            self._names.append(name)
        return self._fds[-1]

    def split(self, path):
        """(descriptor of the directory, name in it) of the object `path`."""
        directory, _, name = path.rpartition("/")
        return self.at(directory), name

    def open(self, path):
        """A descriptor of the regular file `path`, for reading. Raises OSError."""
        fd, name = self.split(path)
        # Not blocking: what was a file may be a FIFO by now.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)

    def stat(self, path):
        """lstat(2) of `path`; None when it is not there."""
        try:
            fd, name = self.split(path)
            return os.stat(name, dir_fd=fd, follow_symlinks=False) if path else os.fstat(fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def forget(self):
        """Close all but the top: a directory may have been removed, or exchanged."""
        self._forget(0)

    def close(self):
        self._forget(0)
        os.close(self._fds.pop())

    def _forget(self, keep):
        while len(self._names) > keep:
            os.close(self._fds.pop())
            self._names.pop()


def is_coda(path):
    """Whether `path`, or the nearest directory above it that is there, is in Coda."""
    import ctypes

    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    room = (ctypes.c_long * 32)()  # a struct statfs, whose first word is the type
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), room) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return room[0] == 0x73757245  # CODA_SUPER_MAGIC, linux/magic.h
