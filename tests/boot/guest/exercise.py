#!/usr/bin/python3
"""A file system exercise whose log is the same on every correct file system.

    exercise.py DIR [SEED]        run in the empty directory DIR as root, log on standard output
    exercise.py --probes DIR [WORDS...]  only the probes whose names begin with none of WORDS
    exercise.py --compare A B     compare two logs, A from ext4 and B from /coda; exit status 1
                                  and the lines when they differ in more than EXPECTED

Three parts: probes (one operation each, with the name of its errno), a mix of writes,
truncates, mappings and appends on one file beside a model of it in memory (after fsx), and a
storm of operations on names. Needs nothing but the standard library; nothing in the log
depends on time, inode numbers or the order of directories.
"""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import random
import socket
import stat
import sys

# What the kernel's Coda cannot do, whoever serves it: (on ext4, on /coda).
EXPECTED = {
    "mkfifo": ("ok", "EIO"),
    "mknod character device": ("ok", "EIO"),
    "bind a socket": ("ok", "EIO"),
    "open O_TMPFILE": ("ok", "EOPNOTSUPP"),
    "set user.xattr": ("ok", "EOPNOTSUPP"),
    "fallocate": ("ok", "EOPNOTSUPP"),
    "renameat2 NOREPLACE free": ("ok", "EINVAL"),
    "renameat2 EXCHANGE": ("ok", "EINVAL"),
    "sendfile into": ("ok", "EINVAL"),
    "symlink of 1025": ("ok", "ENAMETOOLONG"),
    "lseek beyond 2 GiB": ("ok", "EINVAL"),
    "O_APPEND set after open": ("aabb", "bb"),
}


def outcome(act):
    """"ok", what `act` returned, or the name of the errno it failed with."""
    try:
        result = act()
    except OSError as error:
        return errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
    return "ok" if result is None else str(result)


def put(path, data=b"", mode=0o644, flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def as_user(uid, gid, groups, act):
    """The outcome of `act` in a child with these numbers."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.write(tell, outcome(act).encode())
        os._exit(0)
    os.close(tell)
    answer = os.read(hear, 4096).decode()
    os.close(hear)
    os.waitpid(child, 0)
    return answer


def renameat2(old, new, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
        raise OSError(ctypes.get_errno(), "")


# --- probes -----------------------------------------------------------------------------------

ALL_PROBES = {}  # name: function; each is run in a directory of its own


def _probe(name):
    def keep(function):
        ALL_PROBES[name] = function
        return function
    return keep


@_probe("mkfifo")
def _():
    os.mkfifo("p")


@_probe("mknod character device")
def _():
    os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 3))


@_probe("mknod regular file")
def _():
    os.mknod("r", stat.S_IFREG | 0o640)
    return oct(os.stat("r").st_mode)


@_probe("bind a socket")
def _():
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("s")


@_probe("open O_TMPFILE")
def _():
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))


@_probe("set user.xattr")
def _():
    put("f")
    os.setxattr("f", "user.x", b"1")


@_probe("fallocate")
def _():
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    if libc.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(4096)):
        raise OSError(ctypes.get_errno(), "")


@_probe("posix_fallocate")
def _():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 10000)
    return os.fstat(fd).st_size


@_probe("renameat2 NOREPLACE free")
def _():
    put("a")
    renameat2("a", "b", 1)


@_probe("renameat2 NOREPLACE taken")
def _():
    put("a")
    put("b")
    renameat2("a", "b", 1)


@_probe("renameat2 EXCHANGE")
def _():
    put("a")
    put("b")
    renameat2("a", "b", 2)


@_probe("sendfile into")
def _():
    put("a", b"x" * 100)
    source, target = os.open("a", os.O_RDONLY), os.open("b", os.O_WRONLY | os.O_CREAT)
    os.sendfile(target, source, 0, 100)


@_probe("symlink of 1022")
def _():
    os.symlink("t" * 1022, "l")
    return len(os.readlink("l")), os.lstat("l").st_size


@_probe("symlink of 1025")
def _():
    os.symlink("t" * 1025, "l")


@_probe("name of 255")
def _():
    put("n" * 255)
    return len(os.listdir(".")[0])


@_probe("name of 256")
def _():
    put("n" * 256)


@_probe("names of all bytes")
def _():
    names = [bytes([n]) + b"x" for n in range(1, 256) if n != 47]
    for name in names:
        put(name, name)
    return sorted(os.listdir(b".")) == sorted(names), all(get(name) == name for name in names)


@_probe("lseek beyond 2 GiB")
def _():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.lseek(fd, 1 << 31, os.SEEK_SET)


@_probe("pwrite beyond 2 GiB")
def _():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"far", (1 << 31) + 5)
    return os.stat("f").st_size, os.pread(fd, 3, (1 << 31) + 5)


@_probe("O_APPEND")
def _():
    put("f", b"1111")
    put("f", b"22", flags=os.O_APPEND)
    return get("f")


@_probe("O_APPEND by two")
def _():
    one = os.open("f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    two = os.open("f", os.O_WRONLY | os.O_APPEND)
    for n in range(5):
        os.write(one, b"a%d" % n)
        os.write(two, b"b%d" % n)
    return get("f")


@_probe("O_APPEND beside a plain writer")
def _():
    plain = os.open("f", os.O_WRONLY | os.O_CREAT)
    for n in range(3):
        put("f", b"%d" % n, flags=os.O_APPEND)
    late = os.open("f", os.O_WRONLY | os.O_APPEND)
    os.write(plain, b"P")
    os.write(late, b"L")
    return get("f")


@_probe("O_APPEND set after open")
def _():
    put("f", b"aa")
    fd = os.open("f", os.O_WRONLY)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, b"bb")
    return get("f").decode()


@_probe("O_EXCL on an existing file")
def _():
    put("f")
    put("f", flags=os.O_EXCL)


@_probe("O_TRUNC")
def _():
    put("f", b"long text")
    put("f", b"s", flags=os.O_TRUNC)
    return get("f"), os.stat("f").st_size


@_probe("open a directory for writing")
def _():
    os.mkdir("d")
    put("d")


@_probe("O_NOFOLLOW")
def _():
    os.symlink("f", "l")
    os.open("l", os.O_RDONLY | os.O_NOFOLLOW)


@_probe("a loop of symbolic links")
def _():
    os.symlink("a", "b")
    os.symlink("b", "a")
    os.stat("a")


@_probe("use after unlink")
def _():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"kept")
    os.unlink("f")
    os.ftruncate(fd, 10)
    os.fchmod(fd, 0o600)
    st = os.fstat(fd)
    return os.pread(fd, 20, 0), st.st_nlink, st.st_size, oct(st.st_mode)


@_probe("use after rename over")
def _():
    put("new", b"new")
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"old")
    os.rename("new", "f")
    return os.pread(fd, 9, 0), get("f"), os.fstat(fd).st_nlink


@_probe("working directory removed")
def _():
    os.mkdir("d")
    os.chdir("d")
    os.rmdir("../d")
    put("f")


@_probe("unlink a directory")
def _():
    os.mkdir("d")
    os.unlink("d")


@_probe("rmdir a full directory")
def _():
    os.mkdir("d")
    put("d/f")
    os.rmdir("d")


@_probe("rename a directory into itself")
def _():
    os.mkdir("d")
    os.rename("d", "d/e")


@_probe("rename over a full directory")
def _():
    os.mkdir("a")
    os.makedirs("b/c")
    os.rename("a", "b")


@_probe("rename of one file's two names")
def _():
    put("a")
    os.link("a", "b")
    os.rename("a", "b")
    return sorted(os.listdir(".")), os.stat("a").st_nlink


@_probe("rename a file over a directory")
def _():
    put("a")
    os.mkdir("d")
    os.rename("a", "d")


@_probe("link in the directory")
def _():
    put("a", b"1")
    os.link("a", "b")
    put("b", b"2")
    return get("a"), os.stat("a").st_nlink, os.stat("a").st_ino == os.stat("b").st_ino


@_probe("link across directories")
def _():
    put("a")
    os.mkdir("d")
    os.link("a", "d/a")
    os.unlink("a")
    return os.stat("d/a").st_nlink


@_probe("rename of a linked file across directories")
def _():
    put("a")
    os.link("a", "b")
    os.mkdir("d")
    os.rename("a", "d/a")
    return os.stat("b").st_nlink


@_probe("link to a symbolic link")
def _():
    os.symlink("x", "a")
    os.link("a", "b", follow_symlinks=False)
    return os.readlink("b"), os.lstat("b").st_nlink


@_probe("chmod setuid")
def _():
    put("f")
    os.chmod("f", 0o4755)
    return oct(os.stat("f").st_mode)


@_probe("chmod setgid of a directory")
def _():
    os.mkdir("d")
    os.chown("d", 0, 50)
    os.chmod("d", 0o2775)
    os.mkdir("d/e")
    put("d/f")
    return oct(os.stat("d/e").st_mode), os.stat("d/e").st_gid, os.stat("d/f").st_gid


@_probe("chown")
def _():
    put("f", mode=0o755)
    os.chown("f", 1000, 50)
    st = os.stat("f")
    return st.st_uid, st.st_gid


@_probe("chown takes setuid away")
def _():
    put("f", mode=0o755)
    os.chmod("f", 0o6755)
    os.chown("f", 1000, 50)
    return oct(os.stat("f").st_mode)


@_probe("writing takes setuid away")
def _():
    put("f", mode=0o777)
    os.chmod("f", 0o4777)
    as_user(1000, 1000, [], lambda: put("f", b"x"))
    with open("f", "rb") as file:
        return oct(os.fstat(file.fileno()).st_mode)


@_probe("truncating takes setuid away")
def _():
    put("f", b"xx", mode=0o777)
    os.chmod("f", 0o4777)
    result = as_user(1000, 1000, [], lambda: os.truncate("f", 1))
    return result, oct(os.stat("f").st_mode)


@_probe("lchown of a symbolic link")
def _():
    os.symlink("x", "l")
    os.lchown("l", 1000, 1000)
    return os.lstat("l").st_uid


@_probe("times")
def _():
    put("f")
    os.utime("f", ns=(1111111111222222222, 3333333333444444444))
    st = os.stat("f")
    return st.st_atime_ns, st.st_mtime_ns


@_probe("times of a symbolic link")
def _():
    os.symlink("f", "l")
    os.utime("l", ns=(5 * 10 ** 9, 6 * 10 ** 9), follow_symlinks=False)
    return os.lstat("l").st_mtime_ns


@_probe("times of a directory stay")
def _():
    os.mkdir("d")
    os.utime("d", ns=(7 * 10 ** 9, 8 * 10 ** 9))
    return os.listdir("d"), os.stat("d").st_mtime_ns


@_probe("user: read another's file")
def _():
    put("f", mode=0o600)
    return as_user(1000, 1000, [], lambda: get("f"))


@_probe("user: search a closed directory")
def _():
    os.mkdir("d", 0o700)
    put("d/f")
    return as_user(1000, 1000, [], lambda: get("d/f"))


@_probe("user: by group")
def _():
    put("f", b"g")
    os.chown("f", 0, 50)
    os.chmod("f", 0o640)
    return (as_user(1000, 1000, [50], lambda: get("f")), as_user(1001, 50, [], lambda: get("f")),
            as_user(1002, 1002, [], lambda: get("f")))


@_probe("user: owner without rights")
def _():
    put("f")
    os.chown("f", 1000, 1000)
    os.chmod("f", 0o077)
    return as_user(1000, 1000, [], lambda: get("f"))


@_probe("user: create")
def _():
    os.chmod(".", 0o1777)
    result = as_user(1000, 1000, [], lambda: put("f"))
    st = os.stat("f")
    return result, st.st_uid, st.st_gid


@_probe("user: remove in a sticky directory")
def _():
    os.chmod(".", 0o1777)
    put("f")
    return as_user(1000, 1000, [], lambda: os.unlink("f"))


@_probe("user: chmod")
def _():
    put("f")
    put("g")
    os.chown("g", 1000, 1000)
    return (as_user(1000, 1000, [], lambda: os.chmod("f", 0o777)),
            as_user(1000, 1000, [], lambda: os.chmod("g", 0o2755)), oct(os.stat("g").st_mode))


@_probe("user: chown away")
def _():
    put("f")
    os.chown("f", 1000, 1000)
    return as_user(1000, 1000, [], lambda: os.chown("f", 1001, -1))


@_probe("user: chgrp")
def _():
    put("f")
    os.chown("f", 1000, 1000)
    return (as_user(1000, 1000, [50], lambda: os.chown("f", -1, 50)), os.stat("f").st_gid,
            as_user(1000, 1000, [], lambda: os.chown("f", -1, 0)))


@_probe("user: touch what he may write")
def _():
    put("f")
    os.chmod("f", 0o666)
    return (as_user(1000, 1000, [], lambda: os.utime("f")),
            as_user(1000, 1000, [], lambda: os.utime("f", ns=(5, 5))))


@_probe("user: rights of a namespace of his own")
def _():
    put("f", b"secret", mode=0o600)

    def act():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000):
            return "no namespaces"
        return get("f")
    return as_user(1000, 1000, [], act)


@_probe("root without capabilities")
def _():
    put("f", b"secret", mode=0o600)
    os.chown("f", 1000, 1000)

    def act():
        libc = ctypes.CDLL(None, use_errno=True)
        # capset(2) with version 3 and nothing in the sets.
        head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if libc.capset(head, sets):
            return "capset failed"
        return get("f")
    return as_user(0, 0, [], act)


@_probe("exec without x bits")
def _():
    put("f", b"#!/bin/sh\nexit 0\n", mode=0o644)
    os.execv("./f", ["f"])


@_probe("exec")
def _():
    put("f", b"#!/bin/sh\nexit 7\n", mode=0o755)
    return os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, "./f", ["f"]) << 8)


@_probe("mmap shared")
def _():
    put("f", b"a" * 5000)
    fd = os.open("f", os.O_RDWR)
    with mmap.mmap(fd, 5000) as area:
        os.close(fd)
        area[4990:5000] = b"b" * 10
        area.flush()
    return digest(get("f"))


@_probe("mmap shared again and again")
def _():
    put("f", b"a" * 100)
    for n in range(20):
        fd = os.open("f", os.O_RDWR)
        for m in range(3):
            with mmap.mmap(fd, 100) as area:
                area[n:n + 1] = b"%d" % m
        os.close(fd)
    return get("f")


@_probe("mmap shared by two")
def _():
    put("f", b"a" * 100)
    one, two = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR | os.O_APPEND)
    for fd in (one, two, one, two):
        with mmap.mmap(fd, 100) as area:
            area[0:1] = bytes([area[0] + 1])
    os.write(two, b"end")
    return get("f")


@_probe("locks")
def _():
    put("f")
    one, two = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


@_probe("3000 names, removed while read")
def _():
    for n in range(3000):
        put(f"name-{n}")
    seen = 0
    with os.scandir(".") as entries:
        for entry in entries:
            os.unlink(entry.path)
            seen += 1
    return seen, os.listdir(".")


@_probe("fsync")
def _():
    fd = os.open("f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.fsync(os.open(".", os.O_RDONLY))


def run_probes(top, without=()):
    for number, (name, function) in enumerate(ALL_PROBES.items()):
        if name.startswith(without):
            continue
        here = f"{top}/probe-{number}"
        os.mkdir(here)
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.chdir(here)
            os.umask(0o022)
            os.write(tell, outcome(function).encode())
            os._exit(0)
        os.close(tell)
        print(f"probe: {name}: {os.read(hear, 65536).decode()}", flush=True)
        os.close(hear)
        os.waitpid(child, 0)


# --- one file ---------------------------------------------------------------------------------

class OneFile:
    """Operations on a file and the same on `model`; `check` says where they part."""

    LIMIT = 200000

    def __init__(self, path, rng):
        self.path, self.rng, self.model = path, rng, bytearray()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.appender = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _bytes(self):
        return self.rng.randbytes(self.rng.choice((1, 100, 4096, self.rng.randrange(1, 20000))))

    def _extent(self, data, at):
        end = at + len(data)
        if len(self.model) < end:
            self.model.extend(bytes(end - len(self.model)))
        self.model[at:end] = data

    def write(self):
        at, data = self.rng.randrange(self.LIMIT), self._bytes()
        os.pwrite(self.fd, data, at)
        self._extent(data, at)

    def append(self):
        data = self._bytes()
        os.write(self.appender, data)
        self.model += data

    def append_afresh(self):
        data = self._bytes()
        put(self.path, data, flags=os.O_APPEND)
        self.model += data

    def truncate(self):
        size = self.rng.randrange(self.LIMIT)
        if self.rng.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.path, size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def map_write(self):
        if not self.model:
            return
        at = self.rng.randrange(len(self.model))
        data = self._bytes()[:len(self.model) - at]
        with mmap.mmap(self.fd, len(self.model)) as area:
            area[at:at + len(data)] = data
        self._extent(data, at)

    def map_read(self):
        if self.model:
            with mmap.mmap(self.fd, len(self.model), prot=mmap.PROT_READ) as area:
                self.same(area[:], "mapping")

    def read(self):
        at, size = self.rng.randrange(self.LIMIT), self.rng.randrange(30000)
        self.same(os.pread(self.fd, size, at), "pread", at, at + size)

    def reopen(self):
        os.close(self.fd)
        os.close(self.appender)
        self.fd = os.open(self.path, os.O_RDWR)
        self.appender = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def sync(self):
        os.fsync(self.fd)

    def look(self):
        for size, how in ((os.fstat(self.fd).st_size, "fstat"), (os.stat(self.path).st_size, "stat")):
            if size != len(self.model):
                print(f"file: {how} says {size}, model {len(self.model)}")

    def rename(self):
        os.rename(self.path, f"{self.path}.")
        self.path += "."

    def same(self, data, how, start=0, end=None):
        if data != bytes(self.model[start:end]):
            print(f"file: {how} of {start}..{end} differs from the model")


def run_file(top, seed, count):
    rng = random.Random(seed)
    file = OneFile(f"{top}/one-file", rng)
    acts = (file.write, file.write, file.append, file.append_afresh, file.truncate, file.map_write,
            file.map_read, file.read, file.reopen, file.look, file.sync)
    for number in range(count):
        act = rng.choice(acts)
        act()
        if len(file.model) > 2 * file.LIMIT:
            file.truncate()
        if number % 50 == 49:
            file.look()
            file.same(get(file.path), "file")
            print(f"file: {number + 1} {len(file.model)} {digest(get(file.path))}", flush=True)


# --- names ------------------------------------------------------------------------------------

def run_names(top, seed, count):
    rng = random.Random(seed)
    top += "/names"
    os.mkdir(top)

    def any_name(last):
        # Mostly files are called a to c and directories d to f, else nearly all would fail.
        above = [rng.choice("def") for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        return "/".join([top, *above, rng.choice(last if rng.random() < 0.9 else "abcdef")])

    def within(path):
        return path.removeprefix(top).encode()

    def remove_tree(path):
        for entry in os.listdir(path):
            whole = f"{path}/{entry}"
            if os.path.isdir(whole) and not os.path.islink(whole):
                remove_tree(whole)
            else:
                os.unlink(whole)
        os.rmdir(path)

    acts = {
        "create": lambda a, b: put(a, within(a), 0o600 + rng.randrange(64), os.O_EXCL),
        "write": lambda a, b: put(a, within(b)),
        "mkdir": lambda a, b: os.mkdir(a, 0o700 + rng.randrange(64)),
        "mkdir again": lambda a, b: os.mkdir(b),
        "rename": lambda a, b: os.rename(a, b),
        "move": lambda a, b: os.rename(b, a),
        "link": lambda a, b: os.link(a, b, follow_symlinks=False),
        "symlink": lambda a, b: os.symlink(os.path.basename(a), b),
        "unlink": lambda a, b: os.unlink(a),
        "rmdir": lambda a, b: os.rmdir(a),
        "remove": lambda a, b: remove_tree(a) if rng.random() < 0.2 else None,
        "chmod": lambda a, b: os.chmod(a, 0o700 + rng.randrange(64)),
        "list": lambda a, b: ",".join(sorted(os.listdir(a))),
        "read": lambda a, b: digest(get(a)),
        "look": lambda a, b: (oct(os.lstat(a).st_mode), os.lstat(a).st_nlink),
    }
    for number in range(count):
        what = rng.choice(list(acts))
        last = "def" if what in ("mkdir", "mkdir again", "list", "rmdir", "remove") else "abc"
        if what in ("rename", "move") and rng.random() < 0.3:
            last = "def"
        a, b = any_name(last), any_name(last)
        short = " ".join(path.removeprefix(top) for path in (a, b))
        print(f"names: {number} {what} {short}: {outcome(lambda: acts[what](a, b))}")  # noqa: B023
    sys.stdout.flush()


def dump(top):
    """Everything there is below `top`, in order of names."""
    rows = []
    for base, directories, files in os.walk(top):
        for name in directories + files:
            path = f"{base}/{name}"
            st = os.lstat(path)
            what = ""
            if stat.S_ISLNK(st.st_mode):
                what = digest(os.fsencode(os.readlink(path)))
            elif stat.S_ISREG(st.st_mode):
                what = f"{st.st_size} {digest(get(path)) if st.st_size < 1 << 30 else ''}"
            shown = os.fsencode(path.removeprefix(top)).decode(errors="backslashreplace")
            rows.append(f"tree: {shown!r} {oct(st.st_mode)} {st.st_nlink} {st.st_uid}:{st.st_gid} {what}")
    for row in sorted(rows):
        print(row)


def unexpected(a, b):
    """The differences between the logs `a` and `b` (lists of lines) that EXPECTED does not name.

    A probe with an expected difference must show it. Trees are compared without what only
    such probes leave behind.
    """
    found = []
    for row in sorted({*a} ^ {*b}, key=lambda row: (row.split(": ")[:2], row)):
        if row.startswith("probe: "):
            name, result = row[7:].split(": ", 1)
            if name in EXPECTED and result == EXPECTED[name][row in b]:
                continue
        elif row.startswith("tree: ") and _left_by_expected(row):
            continue
        found.append(("ext4 " if row in a else "coda ") + row)
    rows = {*b}
    found += [f"coda lacks 'probe: {name}: {there}'" for name, (_, there) in EXPECTED.items()
              if f"probe: {name}: {there}" not in rows]
    return found


def _left_by_expected(row):
    number = row.split("/probe-")[1:]
    names = list(ALL_PROBES)
    return bool(number) and names[int(number[0].split("/")[0].split("'")[0])] in EXPECTED


def main(argv):
    if argv[0] == "--compare":
        logs = []
        for path in argv[1:3]:
            with open(path) as file:
                logs.append(file.read().splitlines())
        found = unexpected(*logs)
        print("\n".join(found))
        print(f"{len(logs[0])} lines, {len(logs[1])} lines, {len(found)} unexpected differences")
        return 1 if found or len(logs[0]) < 100 else 0
    if argv[0] == "--probes":
        run_probes(os.path.abspath(argv[1]), tuple(argv[2:]))
        return 0
    top, seed = os.path.abspath(argv[0]), int(argv[1]) if len(argv) > 1 else 1998
    os.umask(0o022)
    run_probes(top)
    run_file(top, seed, 600)
    run_names(top, seed, 4000)
    dump(top)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
