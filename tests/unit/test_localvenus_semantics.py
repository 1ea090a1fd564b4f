"""lib/localvenus/semantics.py: what Coda shows and refuses."""

import errno
import os
import stat

import pytest
from localvenus import semantics
from localvenus.protocol import Change

CODA, HOST = semantics.Coda(), semantics.Host()


def st(mode, nlink=1):
    return os.stat_result((mode, 1, 1, nlink, 5, 6, 0, 0, 0, 0))


class Directory:
    cost = None


class Names:
    """In place of a tree: a directory with these names."""

    def __init__(self, names=(), holding=False):
        self.list, self.holding = list(names), holding

    def names(self, directory):
        return self.list

    def holds(self, directory, node):
        return self.holding


def errno_of(function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    return caught.value.errno


def test_what_is_shown():
    assert CODA.shown(st(stat.S_IFREG | 0o6755, 2)) == (stat.S_IFREG | 0o755, 2, 65534)
    assert CODA.shown(st(stat.S_IFDIR | 0o1777, 9)) == (stat.S_IFDIR | 0o777, 1, 65534)
    assert HOST.shown(st(stat.S_IFDIR | 0o1777, 9)) == (stat.S_IFDIR | 0o1777, 9, 6)
    assert (CODA.mode(0o4755), HOST.mode(0o104755)) == (0o755, 0o4755)


@pytest.mark.parametrize(("length", "cost"), [(1, 1), (15, 1), (16, 2), (47, 2), (48, 3), (79, 3), (80, 4)])
def test_what_a_name_costs(length, cost):
    assert semantics.entry_cost(b"n" * length) == cost


def test_a_directory_is_full_after_8050_short_names():
    directory = Directory()
    CODA.check_room(Names([b"short"] * 8049), directory, b"one")
    CODA.entered(directory, b"one")
    assert errno_of(CODA.check_room, Names(), directory, b"two") == errno.EFBIG
    CODA.left(directory, b"one")
    CODA.check_room(Names(), directory, b"two")
    assert errno_of(CODA.check_room, Names(), directory, b"n" * 16) == errno.EFBIG
    HOST.check_room(Names([b"short"] * 9000), Directory(), b"one")


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_special_files_cannot_be(kind):
    assert errno_of(CODA.check_found, st(kind)) == errno.EIO
    HOST.check_found(st(kind))


def test_bits_that_cannot_be_set():
    file, directory, link = st(stat.S_IFREG), st(stat.S_IFDIR), st(stat.S_IFLNK)
    assert errno_of(CODA.check_change, file, Change(mode=0o4755)) == errno.EPERM
    assert errno_of(CODA.check_change, file, Change(mode=0o2755)) == errno.EPERM
    for subject, mode in ((directory, 0o3755), (file, 0o1755)):
        change = Change(mode=mode)
        CODA.check_change(subject, change)
        assert change.mode == 0o755
    for change in (Change(mode=0o777), Change(uid=0), Change(gid=0)):
        assert errno_of(CODA.check_change, link, change) == errno.EINVAL
    CODA.check_change(link, Change(mtime=1))


def test_links():
    file, link = st(stat.S_IFREG), st(stat.S_IFLNK)
    assert errno_of(CODA.check_link, file, Names(), None, None) == errno.EXDEV
    CODA.check_link(file, Names(holding=True), None, None)
    assert errno_of(CODA.check_link, link, Names(holding=True), None, None) == errno.EPERM
    HOST.check_link(link, Names(), None, None)


def test_moves():
    here, there = object(), object()
    assert errno_of(CODA.check_move, st(stat.S_IFREG, 2), here, there) == errno.EXDEV
    CODA.check_move(st(stat.S_IFREG, 2), here, here)
    CODA.check_move(st(stat.S_IFREG, 1), here, there)
    CODA.check_move(st(stat.S_IFDIR, 2), here, there)


def test_targets():
    CODA.check_target(b"t" * 1022)
    assert errno_of(CODA.check_target, b"t" * 1023) == errno.ENAMETOOLONG
