"""A directory, in Coda or on a disk, made to hold what is wanted: by difference, and verified.

Each object comes into being under its name at once, whole: a file is written under another
name in the same directory, given its mode and time there, and renamed. What is there with the
wanted size, time and mode is therefore complete, and a run that was interrupted is finished
by the next one.
"""

import contextlib
import os
import shlex
import stat
import time
from hashlib import sha256

from codaboot import cli, say

from codaroot.below import Below
from codaroot.limits import NEW, Finding
from codaroot.manifest import Entry
from codaroot.objects import Tree, order

CHUNK = 1 << 20
OBJECT = 1 << 14  # what an object costs beside its bytes, for the time that is left


class Meter:
    """The progress of a piece of work, in objects and bytes."""

    def __init__(self, what, entries):
        self.count, self.size = len(entries), sum(entry.size for entry in entries)
        self.progress = say.Progress(what, self.size + OBJECT * self.count or None)
        self.began, self.objects, self.bytes = time.monotonic(), 0, 0

    def add(self, objects=0, size=0):
        self.objects += objects
        self.bytes += size
        rate = self.bytes / 2**20 / max(0.001, time.monotonic() - self.began)
        self.progress.update(
            self.bytes + OBJECT * self.objects,
            f"{self.objects} of {self.count} objects, {self.bytes / 2**20:.0f} of"
            f" {self.size / 2**20:.0f} MiB, {rate:.1f} MiB/s")


class Filling:
    """What is to be done to the directory `top`, and the doing.

    `wanted` are Entries of types file, dir and link, in their order and owned by root, `twins`
    the names that are hard links ({path: path of the first}), `known` the digests that need no
    reading ({path: SHA-256}), `source` where contents come from. After decide(), `extra` are
    the paths that are not wanted, and `findings` what must be asked before anything is done.
    """

    def __init__(self, top, source, wanted, twins, known):
        self.top, self.source, self.twins = top, source, twins
        self.wanted = {entry.path: entry for entry in wanted}
        self.digests = dict(known)
        self.there = {}
        if os.path.isdir(top):
            tree = Tree(top, xattrs=False, emptied=())
            tree.below.close()
            self.there = {entry.path: entry for entry in tree.entries}
        self.new, self.below = [], None

    # --- deciding -------------------------------------------------------

    def decide(self, delete):
        """Find the difference; with `delete` what is not wanted will be removed."""
        wanted, there = self.wanted, self.there
        stale = [path for path in there if path.rpartition("/")[2] == NEW and path not in wanted]
        self.extra = [path for path in there if path not in wanted and path not in stale]
        blocked = [path for path, entry in there.items()
                   if entry.type == "dir" and path in wanted and wanted[path].type != "dir"]
        self.findings = [Finding("blocked", path, "") for path in blocked if not delete]
        replaced = [path for path, entry in there.items()
                    if path in wanted and wanted[path].type == "dir" and entry.type != "dir"]
        self.remove = sorted(stale + replaced + (self.extra + blocked if delete else []),
                             key=order, reverse=True)
        new = {path for path, entry in wanted.items() if not self._same(entry)}
        # Of one file, a name that is to be written makes its others old.
        self.new = [entry for path, entry in wanted.items()
                    if path in new or self.twins.get(path) in new]
        new |= {entry.path for entry in self.new}
        self.unread = [entry for path, entry in wanted.items()
                       if entry.type == "file" and path not in new and path not in self.digests]
        touched = {path.rpartition("/")[0] for path in [*new, *self.remove]} | new
        self.finish = [entry for path, entry in wanted.items() if entry.type == "dir"
                       and (path in touched or self._differs(entry, there.get(path)))]

    def _same(self, entry):
        there, first = self.there.get(entry.path), self.there.get(self.twins.get(entry.path))
        if there is None or there.type != entry.type:
            return False
        if entry.type == "file":
            twin = first is None or first.inode == there.inode != 0
            return twin and there.size == entry.size and not self._differs(entry, there)
        # The time of a link cannot be set everywhere; a directory is finished later.
        return there.link == entry.link

    @staticmethod
    def _differs(entry, there):
        """Whether mode, owner or time differ; Coda keeps whole seconds."""
        return there is None or (there.mode, there.uid, there.time // 10**9) != (
            entry.mode, 0, entry.time // 10**9)

    def all_digests(self):
        """{path: SHA-256} of all files, when they are known."""
        return {**self.digests, **{path: self.digests[first] for path, first in self.twins.items()
                                   if first in self.digests}}

    @property
    def idle(self):
        """Whether nothing is to be changed."""
        return not (self.new or self.remove or self.finish)

    def names(self):
        """{directory: names in it} as they will be."""
        found = {}
        for path in {*self.wanted, *self.there} - set(self.remove):
            directory, _, name = path.rpartition("/")
            if path:
                found.setdefault(directory, set()).add(name)
        return found

    # --- doing ----------------------------------------------------------

    def operations(self):
        """(text, function) of each operation, in order, for cli.perform."""
        files = [entry for entry in self.new if entry.type == "file" and entry.path not in self.twins]
        meter = Meter("copying", [*files, *self.unread])
        for path in self.remove:
            kind = "rmdir" if self.there[path].type == "dir" else "rm"
            yield f"{kind} {self._quoted(path)}", lambda path=path: self._remove(path)
        for entry in self.new:
            if entry.type == "dir" and entry.path:
                yield f"mkdir {self._quoted(entry.path)}", lambda entry=entry: self._mkdir(entry)
        for entry in files:
            yield (f"cp {quoted(f'{self.source.name}/{entry.path}')} {self._quoted(entry.path)}",
                   lambda entry=entry: self._copy(entry, meter))
        for entry in self.unread:
            yield (f"sha256sum {quoted(f'{self.source.name}/{entry.path}')}",
                   lambda entry=entry: self._digest(entry, meter))
        for entry in self.new:
            if entry.type == "link":
                yield (f"ln -s {quoted(entry.link)} {self._quoted(entry.path)}",
                       lambda entry=entry: self._symlink(entry))
            elif entry.path in self.twins:
                first = self.twins[entry.path]
                yield (f"ln {self._quoted(first)} {self._quoted(entry.path)}",
                       lambda entry=entry, first=first: self._link(entry, first))
        for entry in reversed(self.finish):
            yield (f"chmod {entry.mode:04o} {self._quoted(entry.path)}",
                   lambda entry=entry: self._finish(entry))
        yield f"sync {quoted(self.top)}", meter.progress.end

    def _quoted(self, path):
        return quoted(f"{self.top}/{path}")

    def open(self):
        """Begin to work on `top`, which is there. Raises OSError."""
        # Not to list: a directory that is open when Coda's server gets to know it can never be used again.
        self.below = Below(self.top, listing=False)

    def _remove(self, path):
        # A descriptor of it may be kept from the removal of what was in it.
        self.below.forget()
        fd, name = self.below.split(path)
        with contextlib.suppress(FileNotFoundError):
            if self.there[path].type == "dir":
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)

    def _mkdir(self, entry):
        fd, name = self.below.split(entry.path)
        os.mkdir(name, 0o755, dir_fd=fd)

    def _copy(self, entry, meter):
        directory, name = self.below.split(entry.path)
        with self.source.open(entry.path) as content, self._whole(directory, name):
            # Owner's write in any case: Coda asks for it even of the descriptor that made the file.
            fd = os.open(NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                         entry.mode | 0o200, dir_fd=directory)
            try:
                self._take_in(content, entry, meter, fd)
                own(fd, entry.mode)
            finally:
                os.close(fd)
            # After the file is closed, as that is when Coda stores it.
            os.utime(NEW, ns=(entry.time, entry.time), dir_fd=directory, follow_symlinks=False)

    def _digest(self, entry, meter):
        with self.source.open(entry.path) as content:
            self._take_in(content, entry, meter)

    def _take_in(self, content, entry, meter, fd=None):
        """Read `content` of the source, and write it to `fd`. Raises Failure when it is not as planned."""
        size = self._pour(content, entry, meter, fd)
        complaint = self.source.complaint(content, entry, self.digests[entry.path])
        if complaint or size != entry.size:
            raise cli.Failure(f"cannot copy '{entry.path}': {complaint or 'its size changed'}",
                              "run it again when nobody writes to the source")

    def _pour(self, content, entry, meter, fd=None):
        """Read `content` for its digest, and write it to `fd`; its size."""
        digest, size = sha256(), 0
        while piece := content.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            meter.add(size=len(piece))
            rest = memoryview(piece)
            while fd is not None and rest:
                rest = rest[os.write(fd, rest):]
        self.digests[entry.path] = digest.hexdigest()
        meter.add(objects=1)
        return size

    def _symlink(self, entry):
        directory, name = self.below.split(entry.path)
        with self._whole(directory, name):
            os.symlink(entry.link, NEW, dir_fd=directory)

    def _link(self, entry, first):
        directory, name = self.below.split(entry.path)
        with self._whole(directory, name):
            os.link(first.rpartition("/")[2], NEW, src_dir_fd=directory, dst_dir_fd=directory,
                    follow_symlinks=False)

    @staticmethod
    @contextlib.contextmanager
    def _whole(directory, name):
        """What is made as NEW in the block gets its `name`, or vanishes."""
        try:
            yield
            os.rename(NEW, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(NEW, dir_fd=directory)
            raise

    def _finish(self, entry):
        place = itself(self.below.at(entry.path))
        own(place, entry.mode)
        os.utime(place, ns=(entry.time, entry.time))

    def finish_top(self):
        """Give the top its time again, after something else was written into it."""
        self._finish(self.wanted[""])

    # --- looking --------------------------------------------------------

    def verify(self, every):
        """Read back what was written, or all of it. Raises Failure, naming the first that differs."""
        # What is there from a run that did not finish was never read back.
        entries = list(self.wanted.values()) if every else [*self.new, *self.unread, *self.finish]
        meter = Meter("reading back", [entry for entry in entries if entry.type == "file"])
        for entry in entries:
            self._check(entry, meter)
        meter.progress.end()
        return len(entries)

    def _check(self, entry, meter):
        status = self.below.stat(entry.path)
        wrong = None
        if status is None or stat.S_IFMT(status.st_mode) != KINDS[entry.type]:
            wrong = "it is not there"
        elif entry.type == "link":
            directory, name = self.below.split(entry.path)
            if os.readlink(name, dir_fd=directory) != entry.link:
                wrong = "it leads elsewhere"
        elif stat.S_IMODE(status.st_mode) != entry.mode:
            wrong = f"its mode is {stat.S_IMODE(status.st_mode):04o}, not {entry.mode:04o}"
        elif entry.type == "file":
            with os.fdopen(self.below.open(entry.path), "rb", buffering=0) as content:
                digest = self.digests[self.twins.get(entry.path, entry.path)]
                self._pour(content, entry, meter)
                if self.digests[entry.path] != digest:
                    wrong = "its content differs"
        if wrong:
            raise cli.Failure(f"cannot verify '{self.top}/{entry.path}': {wrong}")

    def strangers(self):
        """The paths of files and directories whose owner, as now shown, is not root."""
        # A link's cannot be changed in Coda; who owns it can do nothing with it.
        return [entry.path for entry in self.wanted.values() if entry.type != "link"
                and (status := self.below.stat(entry.path)) and status.st_uid != 0]

    def take(self, path):
        """Make root the owner of the file or directory `path`."""
        directory, name = self.below.split(path)
        if path:
            os.chown(name, 0, -1, dir_fd=directory, follow_symlinks=False)
        else:
            os.chown(itself(directory), 0, -1)


KINDS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}


def itself(fd):
    """A path to what the O_PATH descriptor `fd` is of, for calls that refuse the descriptor: open(2)."""
    return f"/proc/self/fd/{fd}"


def own(place, mode):
    """Root's, with `mode`: changed only where it is not so, as each change is a record for venus.

    `place` is a path or a descriptor.
    """
    status = os.stat(place)
    if status.st_uid != 0:
        os.chown(place, 0, -1)
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(place, mode)


def quoted(path):
    """`path` as a word for a shell, and for a terminal."""
    return shlex.quote(path.encode(errors="backslashreplace").decode())


def shared(public):
    """The public Entries as the shared tree holds them: special ones plain, and all of them root's."""
    from codaroot.limits import in_tree

    found = []
    for entry in public:
        if not in_tree(entry):
            continue
        mode = entry.mode
        if entry.type != "link" and entry.tags:
            mode = 0o755 if entry.type == "dir" or mode & 0o111 else 0o644
        found.append(Entry(entry.path, entry.type, mode, 0, 0, entry.size, entry.time, link=entry.link))
    return found


def private(hidden, public):
    """The hidden Entries as SECRETS/tree holds them: directories and files, for root alone."""
    modes = {"dir": 0o700, "file": 0o600}
    return [Entry(entry.path, entry.type, modes[entry.type], 0, 0, entry.size, entry.time)
            for entry in with_ancestors(hidden, public) if entry.type in modes]


def with_ancestors(some, entries):
    """`some` of the Entries with the directories of `entries` above them, at least the top, in order."""
    above, taken = {""}, {entry.path for entry in some}
    for path in taken:
        while path := path.rpartition("/")[0]:
            above.add(path)
    return sorted([*some, *(entry for entry in entries if entry.path in above - taken)],
                  key=lambda entry: order(entry.path))
