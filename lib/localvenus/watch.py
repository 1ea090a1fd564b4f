"""Seeing what others do to the served directory, and telling the kernel.

The kernel keeps names (also the ones that are not there) and attributes for ever. fanotify(7)
reports changes by file handle, and from a handle comes the fid: no table is needed, and so
this can be a thread of its own that mostly sleeps.
"""

import ctypes
import os
import time
from struct import Struct

from localvenus import protocol

# include/uapi/linux/fanotify.h
_INIT = 0x1 | 0x10 | 0x200 | 0x400  # CLOEXEC, UNLIMITED_QUEUE, REPORT_FID, REPORT_DIR_FID
_MARK = 0x1 | 0x100  # ADD, FILESYSTEM
MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
ONDIR, OVERFLOW = 0x40000000, 0x4000
_ENTRIES = MOVED_FROM | MOVED_TO | CREATE | DELETE
_EVENT = Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
_INFO = Struct("=BBH8sIi")  # info_type, pad, len, fsid, handle_bytes, handle_type
_SELF, _DIRECTORY = 1, 3  # FAN_EVENT_INFO_TYPE_FID, _DFID
# Seconds between two looks: events that say the same again are merged meanwhile.
PAUSE = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


def watch(directory):
    """A fanotify descriptor for all changes in the file system of `directory` (a descriptor).

    Raises OSError: no CAP_SYS_ADMIN, or a file system without handles.
    """
    fd = _libc.fanotify_init(_INIT, os.O_RDONLY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if _libc.fanotify_mark(fd, _MARK, ctypes.c_uint64(MODIFY | ATTRIB | _ENTRIES | ONDIR), directory, None):
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number))
    return fd


def parse(data, handles, own_pid):
    """What the bytes of a fanotify read(2) mean: (downcall, fid) pairs, each once, in order.

    Leaves out what the process `own_pid` did itself: it was asked to by the kernel.
    """
    found = {}
    at = 0
    while at < len(data):
        length, _, _, start, mask, _, pid = _EVENT.unpack_from(data, at)
        if pid != own_pid or mask & OVERFLOW:
            info = at + start
            while info < at + length:
                kind, _, size, _, handle_size, handle_kind = _INFO.unpack_from(data, info)
                body = data[info + _INFO.size:info + _INFO.size + handle_size]
                fid = handles.fid(handle_kind, body)
                info += size
                if fid is None:
                    continue
                if kind == _DIRECTORY and mask & _ENTRIES:
                    found[protocol.ZAPDIR, fid] = None
                elif kind == _SELF or (kind == _DIRECTORY and mask & ONDIR):
                    found[protocol.ZAPFILE, fid] = None
        at += length
    return list(found)


def run(fd, server, log):
    """Pass on the changes seen on `fd`, for ever. Called in a thread; os.write is all it shares."""
    own_pid, handles = os.getpid(), server.tree.handles
    while True:
        try:
            changes = parse(os.read(fd, 65536), handles, own_pid)
        except OSError as error:
            log(f"cannot watch the directory any longer: {error.strerror}")
            return
        for opcode, fid in changes:
            note(server, opcode, fid)
        time.sleep(PAUSE)


def note(server, opcode, fid):
    """Tell the kernel, and the server, of one change."""
    node = server.tree.nodes.get(fid)
    if opcode == protocol.ZAPDIR:
        if node is not None:
            node.cost = None
    elif fid in server.writers:
        # Clients write through the kernel, which keeps count itself; it is told at close.
        return
    elif node is not None:
        # Perhaps its last name went. Descriptors are the server's business: leave a note.
        server.gone.append(fid)
    server.down(opcode, fid)
