"""The loop: one message from the kernel, one answer, in one thread.

Nothing here may touch the served mount, or follow a path a client can change: the kernel would
ask us, and wait for ever. See fs/coda/upcall.c and fs/coda/psdev.c for the other side.
"""

import errno
import os
import stat
import time
from struct import error as StructError

from localvenus import access, protocol
from localvenus.protocol import (
    CREATE_REPLY,
    FD_REPLY,
    FID_REPLY,
    FINISHED,
    GETATTR_REPLY,
    HALF,
    HEADER,
    INTENT_BYTES,
    LARGEST,
    LOOKUP_REPLY,
    PLAIN,
    READLINK_REPLY,
    STATFS_REPLY,
    WORD,
    attributes,
    name_at,
)
from localvenus.repair import Mappings, Writing

_FOR_WRITING = protocol.OPEN_WRITE | protocol.OPEN_TRUNCATE
_MOST_BLOCKS = 2 ** 31 - 1
_UNKNOWN = errno.EOPNOTSUPP


class Server:
    """Answers the upcalls that arrive at a Coda device for one Tree.

    `writers` has a repair.Writing for each fid that is open for writing.
    """

    def __init__(self, device, tree, semantics, proc, log):
        """`device`, `proc`: descriptors of the device and of /proc; `log`: called with a line."""
        self.device, self.tree, self.semantics, self.proc, self.log = device, tree, semantics, proc, log
        self.writers = {}
        self.mappings = Mappings()
        self.gone = []  # fids the watcher saw removed, to be forgotten between two messages
        # What LOOKUP saw, for the GETATTR that always follows: good for the very next message
        # and no other, as any other may change it. The kernel numbers messages in order.
        self._fresh = (None, 0, None)
        self._methods = {
            protocol.ROOT: self.root,
            protocol.OPEN_BY_FD: self.open_by_fd,
            protocol.CLOSE: self.close,
            protocol.GETATTR: self.getattr,
            protocol.SETATTR: self.setattr,
            protocol.ACCESS: self.access,
            protocol.LOOKUP: self.lookup,
            protocol.CREATE: self.create,
            protocol.REMOVE: self.remove,
            protocol.LINK: self.link,
            protocol.RENAME: self.rename,
            protocol.RMDIR: self.rmdir,
            protocol.MKDIR: self.mkdir,
            protocol.SYMLINK: self.symlink,
            protocol.READLINK: self.readlink,
            protocol.FSYNC: self.fsync,
            protocol.STATFS: self.statfs,
            protocol.INTENT: self.intent,
        }

    def serve(self):
        """Answer until the device ends (a socket in tests; the real one never does)."""
        read, device, answer = os.read, self.device, self.answer
        while True:
            message = read(device, LARGEST)
            # The flood first: see protocol.FINISHED.
            if message[:4] == INTENT_BYTES and message[44:48] in FINISHED:
                continue
            if not message:
                return
            answer(message)

    def answer(self, message):
        """Carry out one upcall and write its reply."""
        opcode, unique, thread, _, uid = HEADER.unpack_from(message)
        if self.gone:
            self._forget_gone()
        if opcode == protocol.SIGNAL:
            return
        method = self._methods.get(opcode)
        after = None
        try:
            if method is None:
                reply = PLAIN.pack(opcode, unique, _UNKNOWN)
            else:
                reply = method(message, unique, thread, uid)
                if type(reply) is tuple:
                    reply, after = reply
        except OSError as error:
            reply = PLAIN.pack(opcode, unique, error.errno or errno.EIO)
        except (ValueError, LookupError, TypeError, StructError) as error:
            # A fault of ours must not leave the caller waiting, nor end the machine's root.
            self.log(f"fault in upcall {opcode}: {error!r}")
            reply = PLAIN.pack(opcode, unique, errno.EIO)
        try:
            os.write(self.device, reply)
        except OSError as error:
            # ESRCH: the caller was killed and nobody waits any more.
            if error.errno != errno.ESRCH:
                self.log(f"cannot answer upcall {opcode}: {error.strerror}")
            if after:
                after(False)
        else:
            if after:
                after(True)

    def down(self, opcode, fid):
        """Tell the kernel to forget what it keeps about a fid. Harmless where it keeps nothing."""
        try:
            os.write(self.device, FID_REPLY.pack(opcode, 0, 0, fid))
        except OSError as error:
            self.log(f"cannot write downcall {opcode}: {error.strerror}")

    def _forget_gone(self):
        while self.gone:
            node = self.tree.nodes.get(self.gone.pop())
            if node is not None:
                self._release(node)

    def _release(self, node):
        """Let go of a node whose last name is gone, so that its space is freed.

        Not where it could not be found again while it is still open.
        """
        if os.fstat(node.fd).st_nlink == 0:
            node.removed = True
            if node.fid not in self.writers:
                self.mappings.drop(node.fid)
            if self.tree.stable or node.opens == 0:
                self.tree.forget(node)

    # --- what the kernel asks, in the order of the opcodes -------------------------------------

    def root(self, message, unique, thread, uid):
        return FID_REPLY.pack(protocol.ROOT, unique, 0, self.tree.root.fid)

    def open_by_fd(self, message, unique, thread, uid):
        fid = message[20:36]
        node = self.tree.node(fid)
        node.opens += 1
        if node.format == stat.S_IFDIR:
            # The kernel reads a real directory by itself (coda_readdir, fs/coda/dir.c).
            fd = self.tree.open(node, os.O_RDONLY | os.O_DIRECTORY)
        elif node.format == stat.S_IFREG:
            flags = WORD.unpack_from(message, 36)[0]
            if flags & _FOR_WRITING:
                fd = self.tree.open(node, os.O_RDWR)
                return FD_REPLY.pack(protocol.OPEN_BY_FD, unique, 0, fd), lambda taken: (
                    self._opened_for_writing(fid, fd, flags & protocol.OPEN_READ, taken))
            fd = self.tree.open(node, os.O_RDONLY)
        else:
            raise OSError(errno.ENXIO, "")
        # The kernel takes a reference of its own while the reply is written.
        return FD_REPLY.pack(protocol.OPEN_BY_FD, unique, 0, fd), lambda taken: os.close(fd)

    def _opened_for_writing(self, fid, fd, readable, taken):
        if taken:
            self.writers.setdefault(fid, Writing()).opened(fd, readable)
        else:
            os.close(fd)

    def close(self, message, unique, thread, uid):
        fid, flags = message[20:36], WORD.unpack_from(message, 36)[0]
        if flags & _FOR_WRITING:
            writing = self.writers.get(fid)
            if writing is not None:
                writing.closed(flags & protocol.OPEN_READ)
                if not writing.opens:
                    del self.writers[fid]
            # The kernel guessed size and times while it wrote.
            self.down(protocol.ZAPFILE, fid)
        node = self.tree.nodes.get(fid)
        if node is not None:
            node.opens -= 1
            if node.removed:
                self._release(node)
        return PLAIN.pack(protocol.CLOSE, unique, 0)

    def intent(self, message, unique, thread, uid):
        fid = message[20:36]
        result = errno.EOPNOTSUPP  # do not ask again for this open file
        writing = self.writers.get(fid)
        if writing is not None:
            writing.renew_flags()
            if writing.mappable:
                if WORD.unpack_from(message, 44)[0] == protocol.INTENT_MAP:
                    fd = self.tree.open(self.tree.node(fid), os.O_RDWR)
                    self.mappings.add(fid, fd)
                    os.close(fd)
                else:
                    result = 0  # do ask: a mapping may follow, and must be seen
        return PLAIN.pack(protocol.INTENT, unique, result)

    def getattr(self, message, unique, thread, uid):
        fid = message[20:36]
        if self._fresh[0] == fid and self._fresh[1] == unique:
            st = self._fresh[2]
        else:
            st = os.fstat(self.tree.node(fid).fd)
        return GETATTR_REPLY.pack(protocol.GETATTR, unique, 0, *attributes(st, *self.semantics.shown(st)))

    def setattr(self, message, unique, thread, uid):
        node = self.tree.node(message[20:36])
        change = protocol.parse_change(message)
        st = os.fstat(node.fd)
        if not access.plainly_granted(st, change, uid):
            caller = access.read_caller(self.proc, thread, uid)
            access.judge_change(st, change, caller, time.time_ns())
        self.semantics.check_change(st, change)
        if not self.semantics.groups:
            change.gid = None
        self.tree.change(node, st, change)
        return PLAIN.pack(protocol.SETATTR, unique, 0)

    def access(self, message, unique, thread, uid):
        st = os.fstat(self.tree.node(message[20:36]).fd)
        mask = WORD.unpack_from(message, 36)[0] & 7
        mode = st.st_mode
        if access.plainly_allowed(mode, st.st_uid, mask, uid) or access.allowed(
                mode, st.st_uid, st.st_gid, mask, access.read_caller(self.proc, thread, uid)):
            return PLAIN.pack(protocol.ACCESS, unique, 0)
        return PLAIN.pack(protocol.ACCESS, unique, errno.EACCES)

    def lookup(self, message, unique, thread, uid):
        node, st = self.tree.child(self.tree.node(message[20:36]), name_at(message, 36))
        self.semantics.check_found(st)
        self._fresh = node.fid, unique + 1, st
        return LOOKUP_REPLY.pack(protocol.LOOKUP, unique, 0, node.fid, 0)

    def create(self, message, unique, thread, uid):
        mode = stat.S_IFREG | self.semantics.mode(WORD.unpack_from(message, 180)[0])
        return self._make(message, unique, thread, uid, protocol.CREATE, 184,
                          lambda name, at: os.mknod(name, mode, dir_fd=at))

    def mkdir(self, message, unique, thread, uid):
        # Only the mode of the attributes is meant, the rest was never set.
        mode = self.semantics.mode(HALF.unpack_from(message, 48)[0])
        return self._make(message, unique, thread, uid, protocol.MKDIR, 176,
                          lambda name, at: os.mkdir(name, mode, dir_fd=at))

    def symlink(self, message, unique, thread, uid):
        target = name_at(message, 36)
        self.semantics.check_target(target)
        self._make(message, unique, thread, uid, protocol.SYMLINK, 176,
                   lambda name, at: os.symlink(target, name, dir_fd=at))
        return PLAIN.pack(protocol.SYMLINK, unique, 0)

    def _make(self, message, unique, thread, uid, opcode, name_offset, make):
        directory = self.tree.node(message[20:36])
        name = name_at(message, name_offset)
        self.semantics.check_room(self.tree, directory, name)
        gid = -1
        if self.semantics.groups:
            gid = access.read_caller(self.proc, thread, uid).gid
            if gid == 0 or os.fstat(directory.fd).st_mode & stat.S_ISGID:
                gid = -1
        try:
            make(name, directory.fd)
        except FileExistsError:
            # The kernel remembers that there is no such name, and would for ever.
            self.down(protocol.ZAPDIR, directory.fid)
            raise
        if uid or gid != -1:
            os.chown(name, uid, gid, dir_fd=directory.fd, follow_symlinks=False)
        self.semantics.entered(directory, name)
        node, st = self.tree.child(directory, name)
        return CREATE_REPLY.pack(opcode, unique, 0, node.fid, *attributes(st, *self.semantics.shown(st)))

    def remove(self, message, unique, thread, uid):
        directory = self.tree.node(message[20:36])
        name = name_at(message, 36)
        node = self.tree.known(directory, name)
        os.unlink(name, dir_fd=directory.fd)
        self.semantics.left(directory, name)
        if node is not None:
            self._release(node)
        return PLAIN.pack(protocol.REMOVE, unique, 0)

    def rmdir(self, message, unique, thread, uid):
        directory = self.tree.node(message[20:36])
        name = name_at(message, 36)
        node = self.tree.known(directory, name)
        os.rmdir(name, dir_fd=directory.fd)
        self.semantics.left(directory, name)
        if node is not None:
            self._release(node)
        return PLAIN.pack(protocol.RMDIR, unique, 0)

    def link(self, message, unique, thread, uid):
        node = self.tree.node(message[20:36])
        directory = self.tree.node(message[36:52])
        name = name_at(message, 52)
        self.semantics.check_link(os.fstat(node.fd), self.tree, node, directory)
        self.semantics.check_room(self.tree, directory, name)
        path, at = self.tree.path(node)
        # Through /proc and following that one link: the object itself, whatever its name is now.
        os.link(path, name, src_dir_fd=at, dst_dir_fd=directory.fd, follow_symlinks=True)
        self.semantics.entered(directory, name)
        return PLAIN.pack(protocol.LINK, unique, 0)

    def rename(self, message, unique, thread, uid):
        source, target = self.tree.node(message[20:36]), self.tree.node(message[40:56])
        old, new = name_at(message, 36), name_at(message, 56)
        node, st = self.tree.child(source, old)
        self.semantics.check_move(st, source, target)
        try:
            replaced, _ = self.tree.child(target, new)
        except FileNotFoundError:
            replaced = None
            if source is not target or len(new) > len(old):
                self.semantics.check_room(self.tree, target, new)
        os.rename(old, new, src_dir_fd=source.fd, dst_dir_fd=target.fd)
        # Two names of one file: rename(2) does nothing, and both stay.
        if replaced is not node:
            self.semantics.left(source, old)
            node.parent = target.fid
            if replaced is None:
                self.semantics.entered(target, new)
            else:
                self._release(replaced)
        if node.format == stat.S_IFDIR:
            # The kernel does not count the links of the parents right (coda_rename, fs/coda/dir.c).
            self.down(protocol.ZAPFILE, source.fid)
            self.down(protocol.ZAPFILE, target.fid)
        return PLAIN.pack(protocol.RENAME, unique, 0)

    def readlink(self, message, unique, thread, uid):
        target = os.readlink(b"", dir_fd=self.tree.node(message[20:36]).fd)
        return READLINK_REPLY.pack(protocol.READLINK, unique, 0, len(target), 24) + target

    def fsync(self, message, unique, thread, uid):
        # The kernel has synced the container, which is the file or the directory itself.
        return PLAIN.pack(protocol.FSYNC, unique, 0)

    def statfs(self, message, unique, thread, uid):
        room = os.fstatvfs(self.tree.directory)
        counts = (room.f_blocks * room.f_frsize >> 12, room.f_bfree * room.f_frsize >> 12,
                  room.f_bavail * room.f_frsize >> 12, room.f_files, room.f_ffree)
        return STATFS_REPLY.pack(protocol.STATFS, unique, 0, *(min(n, _MOST_BLOCKS) for n in counts))
