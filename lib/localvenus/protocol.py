"""The messages between the kernel's Coda file system and its cache manager, protocol version 5.

Layouts are those of include/uapi/linux/coda.h on a 64-bit machine, native byte order. A file
identifier (CodaFid, four 32-bit words) stays the 16 bytes it arrives as: it is only ever a key.
"""

import os
import stat
from struct import Struct, pack

VERSION = 5
VERSION_IOCTL = 0xC008630A  # _IOWR('c', 10, size_t)
LARGEST = 8552  # bytes of the largest upcall; a smaller buffer cuts messages silently

(ROOT, OPEN_BY_FD, CLOSE, IOCTL, GETATTR, SETATTR, ACCESS, LOOKUP, CREATE, REMOVE, LINK, RENAME,
 MKDIR, RMDIR, SYMLINK, READLINK, FSYNC, VGET, SIGNAL, STATFS, INTENT) = (
    2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 34, 37)
FLUSH, ZAPFILE, ZAPDIR = 25, 27, 28

OPEN_READ, OPEN_WRITE, OPEN_TRUNCATE = 0x01, 0x02, 0x10

INTENT_MAP = 3
# The two kinds that only say "finished": asynchronous, never to be answered, one for each
# read(2) and write(2) without any limit. The loop compares these bytes before all else.
INTENT_BYTES = pack("=I", INTENT)
FINISHED = (pack("=I", 4), pack("=I", 5))

HEADER = Struct("=IIiiI")  # opcode, unique, thread, process group, fsuid
_ATTRIBUTES = "qHhII4xqQqqqqqqqQQQQQ"
ATTRIBUTES = Struct("=" + _ATTRIBUTES)
PLAIN = Struct("=III")  # opcode, unique, result (0 or a positive errno)
FID_REPLY = Struct("=III16s")
FD_REPLY = Struct("=IIIi")
LOOKUP_REPLY = Struct("=III16si")
GETATTR_REPLY = Struct("=III4x" + _ATTRIBUTES)
CREATE_REPLY = Struct("=III16s4x" + _ATTRIBUTES)
READLINK_REPLY = Struct("=IIIiq")
STATFS_REPLY = Struct("=IIIiiiii")
FID = Struct("=IIII")
WORD = Struct("=I")
HALF = Struct("=H")
MOUNT_DATA = Struct("=ii")  # struct coda_mount_data: version 1, descriptor of the device

# "Leave alone" in a field of SETATTR.
NO_MODE, NO_ID, NO_SIZE, NO_TIME = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, -1

TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFBLK: 3, stat.S_IFCHR: 4,
         stat.S_IFLNK: 5, stat.S_IFSOCK: 6, stat.S_IFIFO: 7}
_GIGA = 1000000000
_LINKS = 32767  # va_nlink is signed, and -1 means "leave alone"


def name_at(message, where):
    """The name whose offset stands in the word at `where` of `message` (bytes)."""
    start, = WORD.unpack_from(message, where)
    return message[start:message.index(b"\0", start)]


def inode_number(fid):
    """The inode number the kernel will show for `fid` (coda_f2i, fs/coda/coda_linux.h)."""
    a, b, c, d = FID.unpack(fid)
    return (d ^ c << 10 ^ b << 20 ^ a) & 0xFFFFFFFF


def make_fid(tag, inode, generation):
    """A fid from which `inode_number` gives the low 32 bits of `inode`.

    The fourth word is free: it undoes what the other three do to the kernel's hash, so st_ino
    is the number of the served file, equal to d_ino, and no two files share one.
    """
    high = inode >> 32
    last = (inode ^ generation << 10 ^ high << 20 ^ tag) & 0xFFFFFFFF
    return FID.pack(tag, high, generation, last)


def split_fid(fid):
    """(tag, inode, generation) of a fid made by `make_fid`."""
    tag, high, generation, last = FID.unpack(fid)
    return tag, high << 32 | (last ^ generation << 10 ^ high << 20 ^ tag) & 0xFFFFFFFF, generation


def attributes(st, mode, links, group):
    """The fields of a coda_vattr, in order, for an os.stat_result.

    `mode` (with type bits), `links` and `group` are what shall be shown in place of the real ones.
    """
    kind = TYPES[mode & 0o170000]
    device = 0
    if kind in (3, 4):
        # new_encode_dev, include/linux/kdev_t.h
        major, minor = os.major(st.st_rdev), os.minor(st.st_rdev)
        device = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    size = st.st_size
    a, m, c = st[7], st[8], st[9]
    return (kind, mode, links if links < _LINKS else _LINKS, st.st_uid, group, st.st_ino, size, 4096,
            a, st.st_atime_ns - a * _GIGA, m, st.st_mtime_ns - m * _GIGA, c, st.st_ctime_ns - c * _GIGA,
            0, 0, device, size, 0)


class Change:
    """What a SETATTR asks for: None in a field that is to be left alone. Times in nanoseconds."""

    __slots__ = ("mode", "uid", "gid", "size", "atime", "mtime")

    def __init__(self, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        self.mode, self.uid, self.gid = mode, uid, gid
        self.size, self.atime, self.mtime = size, atime, mtime


def parse_change(message):
    """The Change in a SETATTR request."""
    (_, mode, _, uid, gid, _, size, _, a, a_ns, m, m_ns, *_) = ATTRIBUTES.unpack_from(message, 40)
    return Change(
        None if mode == NO_MODE else mode & 0o7777,
        None if uid == NO_ID else uid,
        None if gid == NO_ID else gid,
        None if size == NO_SIZE else size,
        None if a == NO_TIME else a * _GIGA + a_ns,
        None if m == NO_TIME else m * _GIGA + m_ns)
