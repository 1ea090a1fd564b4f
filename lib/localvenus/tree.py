"""The served directory: from the kernel's file identifiers to descriptors and back.

Every object is held by an O_PATH descriptor and reached by *at() calls or /proc/self/fd, so no
symbolic link of the tree is ever followed. A fid carries what the file system's own file
handle carries (name_to_handle_at(2)): it stays the same through renames, among hard links and
over a restart of the server, and a descriptor can be made from it again at any time. The table
of descriptors is therefore only a cache.
"""

import ctypes
import errno
import os
import stat
from struct import Struct, pack

from localvenus import protocol

_libc = ctypes.CDLL(None, use_errno=True)
_HANDLE_HEAD = Struct("=Ii")
_HANDLE_ROOM = 128
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # the same numbers on all architectures
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

HANDLE_TAG = 0x4C560001
PINNED_TAG = 0x4C560002

# The 32-bit words of a file handle, by its type and length: i and h are the low and the high
# half of the inode number, g the generation, c the same in the whole file system. From
# include/linux/exportfs.h and the encode_fh functions of fs/libfs.c (ext4, f2fs),
# mm/shmem.c, fs/xfs/xfs_export.c and fs/btrfs/export.c.
LAYOUTS = {(1, 8): "ig", (1, 12): "gih", (0x81, 12): "ihg", (0x4D, 20): "ihccg"}


def private_bind(directory):
    """A descriptor of `directory` in a mount of our own, that nobody else can reach.

    Mounts made below the directory, before or later, do not appear in it, and reading does
    not write access times to the disk. Raises OSError (open_tree(2) needs CAP_SYS_ADMIN).
    """
    fd = _libc.syscall(_OPEN_TREE, -100, os.fsencode(directory), ctypes.c_uint(0o2000001))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    # struct mount_attr: set NOATIME, clear the other access time modes, MS_PRIVATE.
    wish = pack("=QQQQ", 0x10, 0x70, 1 << 18, 0)
    if _libc.syscall(_MOUNT_SETATTR, fd, b"", ctypes.c_uint(_AT_EMPTY_PATH), wish, ctypes.c_size_t(32)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    return fd


class Handles:
    """File handles of one file system, and the fids made from them."""

    def __init__(self, root):
        """`root` is any open directory in it (not O_PATH). Raises OSError where handles do not work."""
        self._root = root
        self._buffer = ctypes.create_string_buffer(_HANDLE_HEAD.size + _HANDLE_ROOM)
        self._mount_id = ctypes.byref(ctypes.c_int())
        self.kind, body = self._read(root)
        self.layout = LAYOUTS.get((self.kind, len(body)))
        if self.layout is None:
            raise OSError(errno.EOPNOTSUPP, "unknown file handles")
        self._words = Struct(f"={len(self.layout)}I")
        self._constant = self._words.unpack(body)
        fid = self.fid(self.kind, body)
        if protocol.split_fid(fid)[1] != os.fstat(root).st_ino:
            raise OSError(errno.EOPNOTSUPP, "file handles without inode numbers")
        os.close(self.open(fid))

    def _read(self, fd):
        _HANDLE_HEAD.pack_into(self._buffer, 0, _HANDLE_ROOM, 0)
        if _libc.name_to_handle_at(fd, b"", self._buffer, self._mount_id, _AT_EMPTY_PATH):
            _fail()
        size, kind = _HANDLE_HEAD.unpack_from(self._buffer)
        return kind, self._buffer[8:8 + size]

    def fid(self, kind, body):
        """The fid for a handle; None when it is of another sort than the directory's."""
        if kind != self.kind or len(body) != self._words.size:
            return None
        word = dict(zip(self.layout, self._words.unpack(body), strict=True))
        return protocol.make_fid(HANDLE_TAG, word.get("h", 0) << 32 | word["i"], word["g"])

    def fid_of(self, fd):
        """The fid of an open object. Raises OSError."""
        return self.fid(*self._read(fd))

    def open(self, fid):
        """An O_PATH descriptor of the object a fid stands for. Raises OSError (ESTALE: it is no more)."""
        tag, inode, generation = protocol.split_fid(fid)
        if tag != HANDLE_TAG:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        value = {"i": inode & 0xFFFFFFFF, "h": inode >> 32, "g": generation}
        body = self._words.pack(*(value.get(letter, same) for letter, same
                                  in zip(self.layout, self._constant, strict=True)))
        fd = _libc.open_by_handle_at(self._root, _HANDLE_HEAD.pack(len(body), self.kind) + body, _PATH)
        if fd < 0:
            _fail()
        return fd


class Node:
    """One object of the tree that is open at present.

    `format` is its file type (S_IFMT); `parent` the fid of the directory it was last seen in;
    `used` whether it was asked for lately; `opens` how often a client has it open; `removed`
    whether its last name is gone; `cost` what its entries would cost in a Coda directory, None
    when not counted (semantics.py).
    """

    __slots__ = ("fid", "fd", "inode", "format", "parent", "used", "opens", "removed", "cost")

    def __init__(self, fid, fd, st):
        self.fid, self.fd, self.inode, self.format = fid, fd, st.st_ino, st.st_mode & 0o170000
        self.parent = self.cost = None
        self.used = True
        self.opens = 0
        self.removed = st.st_nlink == 0


class Tree:
    """The objects below one directory, at most `limit` of them open at a time.

    Where the file system has no handles (overlayfs, 9p), or we are not allowed to use them, all
    that was ever asked for stays open, and fids do not survive a restart: `stable` is False.
    """

    def __init__(self, directory, limit=8192):
        """`directory` is a descriptor, O_PATH will do. Raises OSError."""
        self.directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        st = os.fstat(self.directory)
        self.device = st.st_dev
        self.limit = limit
        self.nodes = {}
        self._by_inode = {}
        self._descriptors = None
        try:
            self.handles = Handles(self.directory)
        except OSError:
            self.handles = None
        self.stable = self.handles is not None
        self.root = self._enter(os.open(".", _PATH, dir_fd=directory), st)

    def use_descriptors_of(self, proc):
        """Open /proc/self/fd below the descriptor `proc` of /proc: once more after each fork."""
        self._descriptors = os.open("self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)

    def node(self, fid):
        """The Node for a fid. Raises OSError (ESTALE: there is no such object any more)."""
        node = self.nodes.get(fid)
        if node is None:
            if self.handles is None:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            fd = self.handles.open(fid)
            return self._enter(fd, os.fstat(fd), fid)
        node.used = True
        return node

    def child(self, parent, name):
        """(Node, os.stat_result) of the entry `name` of a directory. Raises OSError."""
        # Open first and look then: the kernel keeps names, and mostly asks for new ones.
        fd = os.open(name, _PATH, dir_fd=parent.fd)
        st = os.fstat(fd)
        node = self._enter(fd, st)
        node.used = True
        node.parent = parent.fid
        return node, st

    def known(self, parent, name):
        """The Node that is open for the entry `name`, or None; OSError when there is no entry."""
        return self._by_inode.get(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_ino)

    def _enter(self, fd, st, fid=None):
        try:
            if st.st_dev != self.device:
                raise OSError(errno.EREMOTE, os.strerror(errno.EREMOTE))
            # A node holds its inode, so the number cannot have been given to another file.
            node = self._by_inode.get(st.st_ino)
            if node is not None:
                os.close(fd)
                return node
            if fid is None:
                fid = self.handles.fid_of(fd) if self.handles else protocol.make_fid(
                    PINNED_TAG, st.st_ino, 0)
            if len(self.nodes) >= self.limit and self.handles:
                self._evict()
        except OSError:
            os.close(fd)
            raise
        node = self.nodes[fid] = self._by_inode[st.st_ino] = Node(fid, fd, st)
        return node

    def _evict(self):
        """Close a quarter of the nodes: the oldest ones that were not asked for since last time."""
        goal = self.limit * 3 // 4
        for node in list(self.nodes.values()):
            if node.used:
                # A second chance: to the young end of the table.
                node.used = False
                self.nodes[node.fid] = self.nodes.pop(node.fid)
            elif node is not self.root:
                self.forget(node)
            if len(self.nodes) <= goal:
                return
        for node in list(self.nodes.values())[:len(self.nodes) - goal]:
            if node is not self.root:
                self.forget(node)

    def forget(self, node):
        """Close a node's descriptor, which would keep the space of a removed file from being free."""
        if self.nodes.pop(node.fid, None) is not None:
            self._by_inode.pop(node.inode, None)
            os.close(node.fd)

    def path(self, node):
        """(path, dir_fd) that reach the object itself, even where it is a symbolic link."""
        return str(node.fd), self._descriptors

    def open(self, node, flags):
        """Open a regular file or directory afresh. Raises OSError."""
        return os.open(str(node.fd), flags | os.O_CLOEXEC, dir_fd=self._descriptors)

    def names(self, node):
        """The names in a directory (bytes). Raises OSError."""
        fd = self.open(node, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def holds(self, directory, node):
        """Whether `node` has a name in `directory`. Raises OSError."""
        if node.parent == directory.fid:
            return True
        fd = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return any(entry.inode() == node.inode for entry in entries)
        finally:
            os.close(fd)

    def change(self, node, st, change):
        """Carry out a Change; `st` is the object as it is. Raises OSError."""
        path, at = self.path(node)
        if change.size is not None:
            if not stat.S_ISREG(st.st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            fd = self.open(node, os.O_WRONLY)
            try:
                os.ftruncate(fd, change.size)
            finally:
                os.close(fd)
        if change.uid is not None or change.gid is not None:
            os.chown(path, -1 if change.uid is None else change.uid,
                     -1 if change.gid is None else change.gid, dir_fd=at)
        if change.mode is not None:
            # After chown(2), which takes the setuid bits away.
            os.chmod(path, change.mode, dir_fd=at)
        if change.atime is not None or change.mtime is not None:
            times = (st.st_atime_ns if change.atime is None else change.atime,
                     st.st_mtime_ns if change.mtime is None else change.mtime)
            os.utime(path, ns=times, dir_fd=at)


def _fail():
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


