"""lib/localvenus/server.py, driven over a socket pair in place of the device."""

import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import threading

import pytest
from conftest import need_root
from localvenus import protocol, semantics, server, tree

OK = 0
READ, WRITE = 1, 2
BLANK = protocol.ATTRIBUTES.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class Kernel:
    """The other side: packs requests, unpacks replies, and keeps what it is handed."""

    def __init__(self, top, words, monkeypatch):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = theirs
        self.lines, self.containers, self.downcalls, self.unique = [], [], [], 0
        directory, proc = os.open(top, os.O_PATH), os.open("/proc", os.O_PATH)
        self.tree = tree.Tree(directory)
        self.tree.use_descriptors_of(proc)
        self.server = server.Server(theirs.fileno(), self.tree, semantics.SEMANTICS[words](), proc,
                                    self.lines.append)
        write = os.write

        def taking_references(fd, data):
            # As coda_psdev_write does: the container is ours before the write is over.
            if fd == theirs.fileno() and data[:4] == b"\3\0\0\0" and len(data) == 16:
                self.containers.append(os.dup(struct.unpack_from("=i", data, 12)[0]))
            return write(fd, data)
        monkeypatch.setattr(server.os, "write", taking_references)
        self.root = self.call(protocol.ROOT)[12:28]

    def send(self, opcode, body=b"", uid=None):
        self.unique += 1
        uid = os.geteuid() if uid is None else uid
        return protocol.HEADER.pack(opcode, self.unique, os.getpid(), 0, uid) + body

    def call(self, opcode, body=b"", uid=None):
        """The reply, whose result must be 0; else OSError."""
        self.server.answer(self.send(opcode, body, uid))
        while True:
            reply = self.ours.recv(9000)
            found, unique, result = protocol.PLAIN.unpack_from(reply)
            if unique:
                break
            self.downcalls.append((found, reply[12:28]))
        assert (found, unique) == (opcode, self.unique)
        if result:
            raise OSError(result, errno.errorcode[result])
        return reply

    def named(self, opcode, fid, name, **more):
        return self.call(opcode, fid + struct.pack("=I", 40) + name + b"\0", **more)

    def lookup(self, fid, name):
        return self.call(protocol.LOOKUP, fid + struct.pack("=II", 44, 1) + name + b"\0")[12:28]

    def stat(self, fid):
        fields = protocol.ATTRIBUTES.unpack_from(self.call(protocol.GETATTR, fid), 16)
        return dict(zip(("type", "mode", "nlink", "uid", "gid", "ino", "size"), fields, strict=False))

    def make(self, opcode, fid, name, mode, **more):
        if opcode == protocol.CREATE:
            body = fid + bytes(4) + BLANK + struct.pack("=III", 0, mode, 188) + name + b"\0"
            return self.call(opcode, body, **more)[12:28]
        body = fid + bytes(4) + BLANK[:8] + struct.pack("=H", mode) + BLANK[10:]
        return self.call(opcode, body + struct.pack("=I", 180) + name + b"\0", **more)[12:28]

    def open(self, fid, flags):
        self.call(protocol.OPEN_BY_FD, fid + struct.pack("=I", flags))
        return self.containers[-1]

    def close(self, fid, flags):
        self.call(protocol.CLOSE, fid + struct.pack("=I", flags))

    def intent(self, fid, kind):
        """What the server says: 0 (ask again) or an errno."""
        try:
            self.call(protocol.INTENT, fid + struct.pack("=iii", 1, 0, kind))
        except OSError as error:
            return error.errno
        return 0

    def setattr(self, fid, mode=0xFFFF, uid=2 ** 32 - 1, gid=2 ** 32 - 1, size=2 ** 64 - 1, times=(-1, -1),
                caller=None):
        wish = protocol.ATTRIBUTES.pack(0, mode, -1, uid, gid, -1, size, -1, times[0], 0, times[1], 0,
                                        -1, -1, 0, 0, 0, 0, 0)
        return self.call(protocol.SETATTR, fid + bytes(4) + wish, uid=caller)


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


@pytest.fixture
def host(top, monkeypatch):
    return Kernel(top, "host", monkeypatch)


@pytest.fixture
def coda(top, monkeypatch):
    return Kernel(top, "coda", monkeypatch)


def test_look_at_what_is_there(host, top):
    (top / "f").write_text("text")
    os.symlink("to/somewhere", top / "l")
    assert host.stat(host.root)["ino"] == top.stat().st_ino
    fid = host.lookup(host.root, b"f")
    assert protocol.inode_number(fid) == (top / "f").stat().st_ino & 0xFFFFFFFF
    assert host.stat(fid)["size"] == 4
    link = host.lookup(host.root, b"l")
    assert host.stat(link)["type"] == 5
    reply = host.call(protocol.READLINK, link)
    assert protocol.READLINK_REPLY.unpack_from(reply)[3:] == (12, 24) and reply[24:] == b"to/somewhere"
    with pytest.raises(FileNotFoundError):
        host.lookup(host.root, b"none")


def test_a_getattr_right_after_lookup_costs_nothing_and_a_later_one_is_new(host, top, monkeypatch):
    (top / "f").write_text("text")
    fid = host.lookup(host.root, b"f")
    (top / "f").write_text("longer text")
    assert host.stat(fid)["size"] == 4
    assert host.stat(fid)["size"] == 11


def test_open_read_write_close(host, top):
    fid = host.make(protocol.CREATE, host.root, b"new", 0o640)
    assert (top / "new").stat().st_mode == stat.S_IFREG | 0o640
    os.write(host.open(fid, READ | WRITE), b"written")
    host.close(fid, READ | WRITE)
    assert (protocol.ZAPFILE, fid) in host.downcalls
    assert os.read(host.open(fid, READ), 99) == b"written" and not host.server.writers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(host.containers[-1], b"x")


def test_a_directory_is_its_own_container(host, top):
    (top / "a").write_text("")
    assert os.listdir(host.open(host.root, READ)) == ["a"]


def test_a_fifo_is_never_opened(host, top):
    os.mkfifo(top / "p")
    with pytest.raises(OSError, match="ENXIO"):
        host.open(host.lookup(host.root, b"p"), READ)


def test_append_is_mended_on_the_container(host):
    fid = host.make(protocol.CREATE, host.root, b"log", 0o600)
    first, second = host.open(fid, WRITE), host.open(fid, WRITE)
    writing = host.server.writers[fid]
    # What coda_open does after it has our answer.
    fcntl.fcntl(second, fcntl.F_SETFL, os.O_APPEND)
    assert len(writing.descriptors) == 2
    assert host.intent(fid, 2) == errno.EOPNOTSUPP
    assert len(writing.descriptors) == 1 and writing.opens == 2
    host.close(fid, WRITE)
    host.close(fid, WRITE)
    assert not host.server.writers
    os.close(first)


def test_a_file_that_may_be_mapped_is_asked_for_until_it_is(host, top):
    fid = host.make(protocol.CREATE, host.root, b"m", 0o600)
    host.open(fid, READ | WRITE)
    assert host.intent(fid, 2) == 0 and host.intent(fid, 1) == 0
    assert host.intent(fid, 3) == errno.EOPNOTSUPP
    assert host.server.mappings.count == 1
    host.close(fid, READ | WRITE)
    assert host.server.mappings.count == 1, "the kernel's count would go below zero"
    host.named(protocol.REMOVE, host.root, b"m")
    assert host.server.mappings.count == 0


def test_mappings_have_a_limit(tmp_path):
    from localvenus.repair import Mappings
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    held = Mappings(limit=3)
    for fid in (b"a", b"a", b"b", b"c"):
        held.add(fid, fd)
    assert held.count == 2
    for fid in (b"b", b"c", b"gone"):
        held.drop(fid)
    assert held.count == 0
    os.close(fd)


def test_finished_reads_and_writes_are_dropped_unanswered(host):
    kind = struct.pack("=iii", 1, 0, 4), struct.pack("=iii", 1, 0, 5)
    thread = threading.Thread(target=host.server.serve)
    thread.start()
    for body in (*kind, *kind):
        host.ours.send(host.send(protocol.INTENT, host.root + body))
    # A name of three letters makes a message of the same length.
    host.ours.send(host.send(protocol.LOOKUP, host.root + struct.pack("=II", 44, 1) + b"\4xy\0"))
    reply = host.ours.recv(9000)
    assert protocol.PLAIN.unpack_from(reply) == (protocol.LOOKUP, host.unique, errno.ENOENT)
    host.ours.close()
    thread.join(10)
    assert not thread.is_alive() and host.lines == []


def test_names_come_and_go(host, top):
    directory = host.make(protocol.MKDIR, host.root, b"d", 0o750)
    assert (top / "d").stat().st_mode & 0o777 == 0o750
    file = host.make(protocol.CREATE, directory, b"f", 0o600)
    host.call(protocol.LINK, file + host.root + struct.pack("=I", 56) + b"g\0")
    assert host.lookup(host.root, b"g") == file
    host.named(protocol.REMOVE, directory, b"f")
    assert host.stat(file)["nlink"] == 1
    body = host.root + struct.pack("=I", 60) + directory + struct.pack("=I", 62) + b"g\0h\0"
    host.call(protocol.RENAME, body)
    assert os.listdir(top / "d") == ["h"] and host.lookup(directory, b"h") == file
    with pytest.raises(OSError, match="ENOTEMPTY"):
        host.named(protocol.RMDIR, host.root, b"d")
    host.named(protocol.REMOVE, directory, b"h")
    host.named(protocol.RMDIR, host.root, b"d")
    assert os.listdir(top) == []
    assert list(host.tree.nodes.values()) == [host.tree.root], "removed files keep no descriptor"


def test_a_symbolic_link_is_made(host, top):
    host.call(protocol.SYMLINK, host.root + struct.pack("=I", 180) + BLANK + struct.pack("=I", 187)
              + b"target\0name\0")
    assert os.readlink(top / "name") == "target"


def test_creating_over_a_name_the_kernel_did_not_know(host, top):
    (top / "f").write_text("mine")
    with pytest.raises(FileExistsError):
        host.make(protocol.CREATE, host.root, b"f", 0o600)
    assert (protocol.ZAPDIR, host.root) in host.downcalls and (top / "f").read_text() == "mine"


def test_truncate_and_chmod(host, top):
    (top / "f").write_text("long")
    fid = host.lookup(host.root, b"f")
    host.setattr(fid, size=2, mode=0o600, times=(7, 8))
    now = (top / "f").stat()
    assert (now.st_size, now.st_mode & 0o7777, now.st_atime, now.st_mtime) == (2, 0o600, 7, 8)


def test_an_unlinked_file_serves_those_who_have_it_open(host, top):
    need_root()
    fid = host.make(protocol.CREATE, host.root, b"t", 0o600)
    fd = host.open(fid, READ | WRITE)
    host.named(protocol.REMOVE, host.root, b"t")
    host.setattr(fid, size=10)
    assert host.stat(fid)["size"] == 10 and os.fstat(fd).st_size == 10
    host.close(fid, READ | WRITE)
    assert fid not in host.tree.nodes
    os.close(fd)
    with pytest.raises(OSError, match="ESTALE"):
        host.stat(fid)


def test_who_may_what(host, top):
    need_root()
    (top / "f").write_text("")
    os.chmod(top / "f", 0o640)
    fid = host.lookup(host.root, b"f")
    mask = struct.pack("=I", 4)
    host.call(protocol.ACCESS, fid + mask)
    with pytest.raises(PermissionError):
        host.call(protocol.ACCESS, fid + mask, uid=12345)
    with pytest.raises(PermissionError):
        host.setattr(fid, mode=0o777, caller=12345)
    made = host.make(protocol.CREATE, host.root, b"theirs", 0o600, uid=12345)
    assert host.stat(made)["uid"] == 12345 == (top / "theirs").stat().st_uid


def test_room(host):
    blocks, free, available, files, files_free = protocol.STATFS_REPLY.unpack(host.call(protocol.STATFS))[3:]
    assert 0 < available <= free <= blocks < 2 ** 31 and 0 <= files_free <= files < 2 ** 31


def test_what_is_not_known_is_refused_and_faults_are_answered(host):
    for opcode in (protocol.IOCTL, 99):
        with pytest.raises(OSError, match="EOPNOTSUPP|ENOTSUP"):
            host.call(opcode, bytes(30))
    with pytest.raises(OSError, match="EIO"):
        host.call(protocol.LOOKUP, host.root)
    assert "fault in upcall 10" in host.lines[0]
    host.server.answer(host.send(protocol.SIGNAL))
    host.ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.ours.recv(9)


def test_coda_refuses_what_coda_refuses(coda, top):
    directory = coda.make(protocol.MKDIR, coda.root, b"d", 0o755)
    file = coda.make(protocol.CREATE, coda.root, b"f", 0o4755)
    assert (top / "f").stat().st_mode & 0o7777 == 0o755
    assert (coda.stat(file)["gid"], coda.stat(directory)["nlink"]) == (65534, 1)
    with pytest.raises(OSError, match="EXDEV"):
        coda.call(protocol.LINK, file + directory + struct.pack("=I", 56) + b"f\0")
    coda.call(protocol.LINK, file + coda.root + struct.pack("=I", 56) + b"g\0")
    with pytest.raises(OSError, match="EXDEV"):
        coda.call(protocol.RENAME, coda.root + struct.pack("=I", 60) + directory + struct.pack("=I", 62)
                  + b"g\0g\0")
    with pytest.raises(PermissionError):
        coda.setattr(file, mode=0o4755)
    coda.setattr(file, gid=0)
    assert (top / "f").stat().st_gid == os.getegid()
    os.mkfifo(top / "p")
    with pytest.raises(OSError, match="EIO"):
        coda.lookup(coda.root, b"p")


def test_the_cost_of_a_directory_is_kept(coda, top, monkeypatch):
    monkeypatch.setattr(semantics, "DIRECTORY_BLOBS", 3)
    for name in (b"a", b"b", b"c"):
        coda.make(protocol.CREATE, coda.root, name, 0o600)
    with pytest.raises(OSError, match="EFBIG"):
        coda.make(protocol.CREATE, coda.root, b"d", 0o600)
    coda.named(protocol.REMOVE, coda.root, b"a")
    coda.make(protocol.CREATE, coda.root, b"d", 0o600)
    # Over an existing name, and to another one of the same length: no more room is needed.
    for old, new in ((b"d", b"c"), (b"c", b"e")):
        coda.call(protocol.RENAME, coda.root + struct.pack("=I", 60) + coda.root + struct.pack("=I", 62)
                  + old + b"\0" + new + b"\0")
    assert sorted(os.listdir(top)) == ["b", "e"]


def test_a_container_can_be_mapped(host, top):
    fid = host.make(protocol.CREATE, host.root, b"m", 0o600)
    fd = host.open(fid, READ | WRITE)
    os.ftruncate(fd, 100)
    with mmap.mmap(fd, 100) as area:
        area[0:3] = b"abc"
    assert (top / "m").read_bytes()[:3] == b"abc"
