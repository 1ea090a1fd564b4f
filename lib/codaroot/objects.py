"""The objects of a tree, in a directory or a tar, as manifest Entries; and their contents."""

import os
import stat

from codaboot import cli

from codaroot.below import Below
from codaroot.manifest import STAMP, Entry

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
# The kernel's, or made anew at each boot: the directory stays, what is in it does not.
EMPTIED = frozenset({"dev", "proc", "sys", "run"})
# mke2fs's own, and ours.
PASSED = frozenset({"lost+found", STAMP})
# The labels of SELinux come from the policy of the system that uses the tree (restorecon(8)).
UNKEPT = frozenset({"security.selinux"})


def order(path):
    """The key that sorts paths: a directory before what is in it, siblings by their bytes."""
    return os.fsencode(path).replace(b"/", b"\0")


def open_source(name):
    """The Tree or Tar that `name` stands for: a directory, a tar, or "-". Raises UsageError."""
    if name != "-" and os.path.isdir(name):
        return Tree(name)
    try:
        return Tar(spooled(0 if name == "-" else name), name)
    except OSError as error:
        raise cli.UsageError(f"cannot read '{name}': {error.strerror or error}") from None


class Tree:
    """What is in a directory. `left_out` lists what is mounted in it, which is not entered."""

    def __init__(self, top, xattrs=True, passed=PASSED, emptied=EMPTIED):
        self.name, self.below = top, Below(top)
        self.xattrs, self.passed, self.emptied = xattrs, passed, emptied
        self.left_out = []
        self.entries = self._walk()

    def _walk(self):
        found = [self._entry("", self.below.at(""), None, os.fstat(self.below.at("")))]
        device = os.fstat(self.below.at("")).st_dev
        todo = [""]
        while todo:
            directory = todo.pop()
            fd, inside = self.below.at(directory), []
            for name in os.listdir(fd):
                path = f"{directory}/{name}" if directory else name
                if path in self.passed:
                    continue
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                found.append(self._entry(path, fd, name, status))
                if stat.S_ISDIR(status.st_mode) and path not in self.emptied:
                    if status.st_dev == device:
                        inside.append(path)
                    else:
                        self.left_out.append(path)
            todo += sorted(inside, reverse=True)
        return sorted(found, key=lambda entry: order(entry.path))

    def _entry(self, path, fd, name, status):
        kind = TYPES[stat.S_IFMT(status.st_mode)]
        device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else None
        return Entry(
            path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
            status.st_size if kind == "file" else 0, status.st_mtime_ns,
            link=os.readlink(name, dir_fd=fd) if kind == "link" else "", device=device,
            inode=status.st_ino if kind != "dir" and status.st_nlink > 1 else 0,
            xattrs=self._xattrs(fd, name) if self.xattrs else ())

    @staticmethod
    def _xattrs(fd, name):
        # There is no listxattrat(2) yet; the last component is not followed.
        path = f"/proc/self/fd/{fd}/{name or '.'}"
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError:
            return ()  # the file system has none
        return tuple((each, os.getxattr(path, each, follow_symlinks=False))
                     for each in sorted(names) if each not in UNKEPT)

    def open(self, path):
        """The content of the regular file `path`, a binary file object. Raises OSError."""
        return os.fdopen(self.below.open(path), "rb", buffering=0)

    def complaint(self, file, entry, digest):
        """Why what was read from `file` is not what `entry` says; None when it is."""
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (entry.size, entry.time):
            return "it changed while it was read"
        return None


class Held(Tree):
    """The shared tree or the secrets of a root, whose files must have the `digests` of its manifest."""

    def __init__(self, top, digests):
        super().__init__(top, xattrs=False, emptied=())
        self.digests = digests

    def complaint(self, file, entry, digest):
        return None if digest == self.digests[entry.path] else "it is not what its manifest says"


class Tar:
    """What is in a tar."""

    KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"5": "dir", b"2": "link",
             b"6": "fifo", b"3": "char", b"4": "block"}

    def __init__(self, file, name):
        # Here, as what reads a tar takes as long to import as all the rest.
        import tarfile

        self.name, self.left_out = name, []
        try:
            self.tar = tarfile.open(fileobj=file, mode="r:", errorlevel=2)
            members = self.tar.getmembers()
        except tarfile.TarError as error:
            raise cli.UsageError(f"cannot read '{name}': neither a directory nor a tar: {error}") from None
        self.members, found = {}, {}
        for member in members:
            path = self._path(member.name)
            if path in PASSED or path.partition("/")[0] in EMPTIED and "/" in path:
                continue
            found[path] = self._entry(path, member, found)
        self._complete(found)
        self.entries = [found[path] for path in sorted(found, key=order)]

    def _path(self, name):
        words = [word for word in name.split("/") if word not in ("", ".")]
        if ".." in words:
            raise cli.UsageError(f"cannot use '{self.name}': '{name}' leads out of it")
        return "/".join(words)

    def _entry(self, path, member, found):
        if member.islnk():
            target = self._path(member.linkname)
            if target not in found:
                raise cli.UsageError(f"cannot use '{self.name}': '{path}' is a link to '{target}',"
                                     " which is not there")
            if not found[target].inode:
                found[target] = found[target]._replace(inode=member.offset + 1)
            self.members[path] = self.members.get(target)
            return found[target]._replace(path=path)
        kind = self.KINDS.get(member.type)
        if kind is None or any(key.startswith("SCHILY.acl.") for key in member.pax_headers):
            raise cli.UsageError(f"cannot use '{self.name}': '{path}' is of a sort that cannot be read",
                                 "give a directory, or a tar made with --format=pax --xattrs")
        self.members[path] = member
        from decimal import Decimal

        time = Decimal(member.pax_headers.get("mtime", int(member.mtime)))
        return Entry(
            path, kind, 0o777 if kind == "link" else member.mode & 0o7777, member.uid, member.gid,
            member.size if kind == "file" else 0, int(time * 10**9),
            link=member.linkname if kind == "link" else "",
            device=(member.devmajor, member.devminor) if kind in ("char", "block") else None,
            xattrs=tuple(sorted(
                (key[13:], value.encode("utf-8", "surrogateescape"))
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.") and key[13:] not in UNKEPT)))

    def _complete(self, found):
        """Directories that the tar takes for granted. Raises UsageError for what is below no directory."""
        for path in [*found, ""]:
            while path:
                path = path.rpartition("/")[0]
                if path not in found:
                    found[path] = Entry(path, "dir", 0o755, 0, 0)
                elif found[path].type != "dir":
                    raise cli.UsageError(f"cannot use '{self.name}': '{path}' is no directory, but has"
                                         " something in it")
        found.setdefault("", Entry("", "dir", 0o755, 0, 0))

    def open(self, path):
        """The content of the regular file `path`, a binary file object."""
        return self.tar.extractfile(self.members[path])

    def complaint(self, file, entry, digest):
        """None: what was read is what `entry` says, as nobody else has the file."""
        return None


def spooled(name):
    """A seekable, unpacked file of the tar `name` (a path or a descriptor). Raises OSError."""
    import bz2
    import gzip
    import lzma
    import shutil
    import tempfile

    packed = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open))
    file = open(name, "rb")
    magic = file.peek(6)[:6]
    opener = next((opener for start, opener in packed if magic.startswith(start)), None)
    if opener is None and file.seekable():
        return file
    spool = tempfile.TemporaryFile()
    try:
        with file, (opener(file) if opener else file) as content:
            shutil.copyfileobj(content, spool, 1 << 20)
    except (EOFError, lzma.LZMAError) as error:
        raise cli.UsageError(f"cannot read '{name or '-'}': {error}") from None
    spool.seek(0)
    return spool
