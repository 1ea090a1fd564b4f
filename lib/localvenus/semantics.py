"""What a file looks like and what is refused: as in Coda itself, or as on the host.

The rules of Coda were observed with CMU's venus 8.1 on Linux; an errno here is the one it gave.
"""

import errno
import os
import stat

NOBODY = 65534  # the group venus reports for everything (V_GID)
DIRECTORY_PAGES = 128  # of 64 blobs of 32 bytes: the directories of coda-src/dir
# Each page spends a blob on its header, the first 12 more on the tables; "." and ".." count.
DIRECTORY_BLOBS = DIRECTORY_PAGES * 63 - 12 - 2
LONGEST_TARGET = 1022  # a longer one can be made in Coda, but never read again


def entry_cost(name):
    """What an entry costs in a Coda directory, in blobs: a head of 16 bytes, the name, a NUL."""
    return 1 + (len(name) + 16 >> 5)


class Host:
    """Everything the backing file system does, less what the kernel's Coda cannot carry."""

    name = "host"
    groups = True  # whether new objects get the caller's group

    def shown(self, st):
        """(mode, number of links, group) to report for an os.stat_result."""
        return st.st_mode, st.st_nlink, st.st_gid

    def check_found(self, st):
        """Refuse an object that cannot be there. Raises OSError."""

    def mode(self, mode):
        """The mode a new object really gets."""
        return mode & 0o7777

    def check_change(self, st, change):
        """Refuse or reduce a protocol.Change. Raises OSError."""

    def check_target(self, target):
        """Refuse a symbolic link to `target`. Raises OSError."""

    def check_link(self, st, tree, node, directory):
        """Refuse another name for `node` in `directory`. Raises OSError."""

    def check_move(self, st, source, target):
        """Refuse to move the object `st` from one directory to another. Raises OSError."""

    def check_room(self, tree, directory, name):
        """Refuse one more entry. Raises OSError."""

    def entered(self, directory, name):
        """An entry was made in `directory`."""

    def left(self, directory, name):
        """An entry was taken from `directory`."""


class Coda(Host):
    """What a server of Coda can hold, and nothing more."""

    name = "coda"
    groups = False

    def shown(self, st):
        mode = st.st_mode & ~0o7000
        return mode, 1 if stat.S_ISDIR(mode) else st.st_nlink, NOBODY

    def check_found(self, st):
        # No upcall is even sent to make one; these were put there behind our back.
        if not (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode) or stat.S_ISLNK(st.st_mode)):
            _refuse(errno.EIO)

    def mode(self, mode):
        return mode & 0o777

    def check_change(self, st, change):
        if stat.S_ISLNK(st.st_mode) and (change.mode, change.uid, change.gid) != (None, None, None):
            _refuse(errno.EINVAL)
        if change.mode is not None:
            if change.mode & 0o6000 and not stat.S_ISDIR(st.st_mode):
                _refuse(errno.EPERM)
            change.mode &= 0o777

    def check_target(self, target):
        if len(target) > LONGEST_TARGET:
            _refuse(errno.ENAMETOOLONG)

    def check_link(self, st, tree, node, directory):
        if stat.S_ISLNK(st.st_mode):
            # The real client takes it, and its server dies of it.
            _refuse(errno.EPERM)
        if not tree.holds(directory, node):
            _refuse(errno.EXDEV)

    def check_move(self, st, source, target):
        if source is not target and st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
            _refuse(errno.EXDEV)

    def check_room(self, tree, directory, name):
        if directory.cost is None:
            directory.cost = sum(entry_cost(each) for each in tree.names(directory))
        if directory.cost + entry_cost(name) > DIRECTORY_BLOBS:
            _refuse(errno.EFBIG)

    def entered(self, directory, name):
        if directory.cost is not None:
            directory.cost += entry_cost(name)

    def left(self, directory, name):
        if directory.cost is not None:
            directory.cost -= entry_cost(name)


SEMANTICS = {"coda": Coda, "host": Host}


def _refuse(number):
    raise OSError(number, os.strerror(number))
