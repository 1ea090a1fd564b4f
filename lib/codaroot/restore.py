"""Putting back what Coda cannot hold: objects of a manifest, into the upper layer of an overlay.

All of this is done by root with data from a server. Nothing is reached by a path, but from one
directory's descriptor to the next, and nothing gets its name before it is complete.
"""

import os
import stat

from codaboot import cli, say

from codaroot.below import Below
from codaroot.manifest import Entry

CHANGED, FORBIDDEN = 5, 6

# null, zero, full, random, urandom, tty: what every program may use anyway.
DEVICES = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)})
WHITEOUT = 0, 0  # what overlayfs makes of a name that was removed
OPAQUE = "trusted.overlay.opaque"
KINDS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK, "fifo": stat.S_IFIFO,
         "socket": stat.S_IFSOCK, "char": stat.S_IFCHR, "block": stat.S_IFBLK}


# --- deciding: no input, no output ------------------------------------

def order(path):
    """The key that sorts paths: a directory before what is in it."""
    return path.split("/") if path else []


def is_allowed(attribute):
    """Whether an extended attribute is only of use to whom the file belongs to."""
    return attribute == "security.capability" or attribute.startswith(("user.", "system.posix_acl_"))


def check(entries, devices=False):
    """That `entries` ask for nothing that a server may not have. Raises Failure (6)."""
    names = {}
    for entry in entries:
        why = None
        if entry.type in ("char", "block"):
            known = entry.type == "char" and entry.device in DEVICES
            if not known and (not devices or entry.device in (None, WHITEOUT)):
                why = "a device that not everybody may have"
        elif entry.type == "file" and not entry.sha256:
            why = "a file without a digest"
        bad = [name for name, _ in entry.xattrs if not is_allowed(name)]
        if bad:
            why = f"the attribute '{bad[0]}'"
        other = names.setdefault(entry.inode, entry) if entry.inode else entry
        if other._replace(path="", tags=()) != entry._replace(path="", tags=()) or \
                entry.inode and entry.type == "dir":
            why = f"a name of '{other.path}', but not the same object"
        if why:
            raise cli.Failure(f"cannot restore '{entry.path}': {why}", code=FORBIDDEN)


def wanted(special, secret, layers, look):
    """What is to be in the upper layer: {path: (Entry, whether it is a secret)}, in order.

    `layers` is {path: lstat} of what the client layers show: it wins. `look(path)` is the lstat of
    ROOT's object or None; it fills in directories that no manifest has: in the upper layer, they
    would else have no owner and mode of their own. Raises Failure (6).
    """
    found = {}
    for entries, is_secret in ((special, False), (secret, True)):
        for entry in entries:
            # Both have the directories on the way; only one of them says why a directory is special.
            if entry.path not in found or entry.type != "dir" or entry.tags:
                found[entry.path] = entry, is_secret
    found = {path: found[path] for path in found if _is_seen(found[path][0], layers)}
    also = {""} | {path for path, status in layers.items() if stat.S_ISDIR(status.st_mode)}
    for path in sorted(also - found.keys(), key=order):
        status = look(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            found[path] = directory(path, status), False
    for path in list(found):
        while path:
            path = path.rpartition("/")[0]
            status = None if path in found else look(path)
            if path not in found:
                # Only secrets are below what ROOT does not have.
                found[path] = directory(path, status) if status else Entry(path, "dir", 0o755, 0, 0), False
            if found[path][0].type != "dir":
                raise cli.Failure(f"cannot restore what is in '{path}': it is no directory", code=FORBIDDEN)
    return {path: found[path] for path in sorted(found, key=order)}


def _is_seen(entry, layers):
    """False when a layer hides `entry`."""
    path, mode = entry.path, stat.S_IFDIR if entry.type == "dir" else -1
    while path:
        if path in layers and stat.S_IFMT(layers[path].st_mode) != mode:
            return False
        path, mode = path.rpartition("/")[0], stat.S_IFDIR
    return True


def directory(path, status):
    """The Entry of a directory as ROOT shows it."""
    return Entry(path, "dir", stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
                 time=status.st_mtime_ns)


# --- touching the system ----------------------------------------------

class Restorer:
    """Brings the upper layer, a directory, to what is wanted.

    `root`, `secrets` (or None) and `upper` are Belows; `new` is the descriptor of an empty directory
    of the same file system as `upper`. `objects` and `size` count what was restored; `kept` are
    the paths left as the client wants them, `changed` those whose content is not the manifest's.
    """

    def __init__(self, root, secrets, upper, new, skip_changed=False):
        self.root, self.secrets, self.upper, self.new = root, secrets, upper, new
        self.skip_changed = skip_changed
        self.objects, self.size, self.kept, self.changed = 0, 0, [], []
        self._closed, self._touched, self._linked = set(), set(), {}

    def restore(self, wish, before):
        """Make what `wish` has (see wanted), where `before`, {path: Entry}, was made last time."""
        for path in sorted(before.keys() - wish.keys(), key=order, reverse=True):
            self._take_away(before[path])
        for path, (entry, is_secret) in wish.items():
            if path and path.rpartition("/")[0] in self._closed:
                self._keep(entry)
            elif before.get(path) != entry:
                self._update(entry, before.get(path), self.secrets if is_secret else self.root)
            elif entry.type == "dir" and not self._is_open(path):
                self._closed.add(path)
        # At last, as each object that gets a name changes the time of its directory.
        for path in self._touched & wish.keys() - self._closed:
            os.utime(self.upper.at(path), ns=2 * (wish[path][0].time,))

    def _update(self, entry, old, source):
        status = self.upper.stat(entry.path)
        if status is None:
            # Gone without a whiteout is what ROOT has not, and the client has deleted.
            if old is None:
                self._make(entry, source)
            else:
                self._keep(entry)
        elif self._is(entry, status):
            self._note(entry)
        elif entry.type == "dir" and stat.S_ISDIR(status.st_mode):
            # Perhaps only copied up by overlayfs, with ROOT's owner and mode, for what is in it.
            shown = self.root.stat(entry.path)
            if old is None and (not entry.path or shown and self._is(directory(entry.path, shown), status)) \
                    or old and self._is(old, status):
                self._dress(self.upper.at(entry.path), ".", entry)
                self._note(entry)
            else:
                self._keep(entry)
        elif old and self._is(old, status) and not self._has_something(status, entry.path):
            self._make(entry, source, status)
        else:
            self._keep(entry)
        if entry.type == "dir" and not self._is_open(entry.path):
            self._closed.add(entry.path)

    def _has_something(self, status, path):
        return stat.S_ISDIR(status.st_mode) and bool(os.listdir(self.upper.at(path)))

    def _is_open(self, path):
        """Whether `path` is a directory of the upper layer that shows what is below it in ROOT."""
        status = self.upper.stat(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return False
        return self._attributes(self.upper.at(path), ".", (OPAQUE,)).get(OPAQUE) != b"y"

    def _keep(self, entry):
        self.kept.append(entry.path)
        if entry.type == "dir":
            self._closed.add(entry.path)

    def _note(self, entry):
        self._touched |= {entry.path} if entry.type == "dir" else set()
        if entry.inode:
            self._linked.setdefault(entry.inode, entry.path)

    def _is(self, entry, status):
        """Whether the object of the upper layer with the lstat `status` is what `entry` says."""
        if stat.S_IFMT(status.st_mode) != KINDS[entry.type] or \
                (status.st_uid, status.st_gid) != (entry.uid, entry.gid) or \
                entry.type != "link" and stat.S_IMODE(status.st_mode) != entry.mode:
            return False
        fd, name = self.upper.split(entry.path)
        if entry.type == "link" and os.readlink(name, dir_fd=fd) != entry.link or \
                entry.device and (os.major(status.st_rdev), os.minor(status.st_rdev)) != entry.device or \
                self._attributes(fd, name or ".") != dict(entry.xattrs):
            return False
        return entry.type != "file" or \
            status.st_size == entry.size and copy(self.upper.open(entry.path), entry.size) == entry.sha256

    @staticmethod
    def _attributes(fd, name, wished=None):
        path = f"/proc/self/fd/{fd}/{name}"
        return {each: os.getxattr(path, each, follow_symlinks=False)
                for each in os.listxattr(path, follow_symlinks=False)
                if (each in wished if wished else is_allowed(each))}

    def _make(self, entry, source, there=None):
        """Make the object under a name nobody sees, and then give it its own."""
        name = "object"
        remove(self.new, name)
        if entry.inode in self._linked:
            fd, other = self.upper.split(self._linked[entry.inode])
            os.link(other, name, src_dir_fd=fd, dst_dir_fd=self.new, follow_symlinks=False)
        elif entry.type == "file":
            if not self._copy(entry, source, name):
                self.changed.append(entry.path)
                return
        elif entry.type == "dir":
            os.mkdir(name, 0o700, dir_fd=self.new)
        elif entry.type == "link":
            os.symlink(entry.link, name, dir_fd=self.new)
        else:
            os.mknod(name, KINDS[entry.type] | 0o600, os.makedev(*entry.device) if entry.device else 0,
                     dir_fd=self.new)
        if entry.inode not in self._linked:
            self._dress(self.new, name, entry)
        if there is not None:
            self.upper.forget()
        fd, last = self.upper.split(entry.path)
        if there is not None and stat.S_ISDIR(there.st_mode) != (entry.type == "dir"):
            remove(fd, last)  # rename(2) does not put the one in the place of the other
        os.rename(name, last, src_dir_fd=self.new, dst_dir_fd=fd)
        self._touched.add(entry.path.rpartition("/")[0])
        self._note(entry)
        self.objects += 1
        self.size += entry.size

    def _copy(self, entry, source, name):
        """Copy the content; False when it is not what the manifest says and that may be. Raises Failure."""
        why = "it is not there"
        status = source.stat(entry.path)
        if status is not None and stat.S_ISREG(status.st_mode):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(name, flags, 0o600, dir_fd=self.new)
            if copy(source.open(entry.path), entry.size, target) == entry.sha256:
                return True
            why = "its content is not what the manifest says"
        if self.skip_changed:
            return False
        raise cli.Failure(f"cannot restore '{source.top}/{entry.path}': {why}",
                          "populate the tree again, or leave such files out with --skip-changed", CHANGED)

    @staticmethod
    def _dress(fd, name, entry):
        """Give what is at `name` its owner, then its mode, as chown(2) takes bits away, then the rest."""
        os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.type != "link":
            os.chmod(name, entry.mode, dir_fd=fd)
        path = f"/proc/self/fd/{fd}/{name}"
        for attribute in os.listxattr(path, follow_symlinks=False):
            if is_allowed(attribute) and attribute not in dict(entry.xattrs):
                os.removexattr(path, attribute, follow_symlinks=False)
        for attribute, value in entry.xattrs:
            try:
                os.setxattr(path, attribute, value, follow_symlinks=False)
            except OSError as error:
                if not attribute.startswith("user."):
                    raise
                say.line(f"cannot keep '{attribute}' of '{entry.path}': {error.strerror}")
        os.utime(name, ns=(entry.time, entry.time), dir_fd=fd, follow_symlinks=False)

    def _take_away(self, entry):
        """Remove what the manifest has no more, when it is as it was restored."""
        status = self.upper.stat(entry.path)
        if status is None or not self._is(entry, status):
            return
        fd, name = self.upper.split(entry.path)
        if entry.type != "dir":
            os.unlink(name, dir_fd=fd)
        elif not self._has_something(status, entry.path):
            self.upper.forget()
            os.rmdir(name, dir_fd=self.upper.split(entry.path)[0])
        else:
            # What the client has in it stays, below a directory as ROOT now shows it.
            shown = self.root.stat(entry.path)
            if shown is not None and stat.S_ISDIR(shown.st_mode):
                self._dress(self.upper.at(entry.path), ".", directory(entry.path, shown))


def copy(source, size, target=None):
    """The SHA-256 of what the descriptor `source` gives, written to `target`; "" when it is not `size` long.

    Both are closed.
    """
    from hashlib import sha256

    digest, done = sha256(), 0
    with open(source, "rb", buffering=0) as read:
        write = open(target, "wb", buffering=0) if target is not None else None
        try:
            # One byte more than it may have: a server could go on for ever.
            while done <= size and (piece := read.read(min(1 << 20, size + 1 - done))):
                digest.update(piece)
                done += len(piece)
                while write and piece:
                    piece = piece[write.write(piece):]
        finally:
            if write:
                write.close()
    return digest.hexdigest() if done == size else ""


def remove(fd, name):
    """Remove what an interrupted run has left."""
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        os.rmdir(name, dir_fd=fd)


def open_tree(path, listing=False):
    """The Below of a directory that must be there. Raises Failure."""
    try:
        return Below(path, listing)
    except OSError as error:
        raise cli.Failure(f"cannot open the directory '{path}': {error.strerror}") from None
