"""A root in Coda on disk: the tree, its stamp, its manifest, and the secrets' (coda-manifest(5))."""

import contextlib
import hashlib
import os

from codaroot import manifest
from codaroot.fill import with_ancestors

LARGEST_STAMP = 4096


class Root:
    """The root at `path`: where its parts are, and what is in them now."""

    def __init__(self, path):
        self.path = path.rstrip("/") or "/"
        self.manifest, self.stamp_file = f"{self.path}.mtree", f"{self.path}/{manifest.STAMP}"

    def stamp(self):
        """Its Stamp; None without one. Raises UsageError when it makes no sense."""
        text = read(self.stamp_file, LARGEST_STAMP)
        return None if text is None else manifest.stamp_from_text(text, self.stamp_file)

    def text(self, stamp):
        """The text of its manifest, when that belongs to `stamp`; else None."""
        return belonging(self.manifest, stamp and stamp.manifest)

    def mark(self, stamp):
        """Write `stamp` into the tree."""
        write(self.stamp_file, manifest.stamp_to_text(stamp), 0o644)


class Secrets:
    """The directory of secrets at `path`."""

    def __init__(self, path):
        self.path = path.rstrip("/")
        self.tree, self.manifest = f"{self.path}/tree", f"{self.path}/manifest.mtree"

    def text(self, stamp):
        """The text of its manifest, when that belongs to `stamp`; else None."""
        return belonging(self.manifest, stamp and stamp.secrets)

    def foreign(self, tree):
        """Why it cannot be used for the identity `tree`: something else is there. None when it can."""
        if not os.path.isdir(self.path):
            return "it is no directory" if os.path.lexists(self.path) else None
        if set(os.listdir(self.path)) - {"tree", "manifest.mtree", "manifest.mtree.new"}:
            return "there is something else in it"
        text = read(self.manifest)
        if text is not None and manifest.from_text(text, self.manifest)[0] != tree:
            return "it has the secrets of another tree"
        return None


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def read(path, room=-1):
    """The text of the file at `path`, which is no link; None when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, "rb") as file:
        # What is not ASCII makes neither a stamp nor a manifest; it must not make a traceback.
        return file.read(room).decode("ascii", "replace")


def belonging(path, wanted):
    """The text of the file at `path` when `wanted` is its SHA-256; else None."""
    text = read(path) if wanted else None
    return text if text is not None and digest(text) == wanted else None


def write(path, text, mode):
    """Make `text` the content of the file `path`, at once and for good."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise


def public_text(tree, public, digests):
    """The text of ROOT.mtree."""
    entries = [with_digest(entry, digests) for entry in public]
    special = with_ancestors([entry for entry in entries if entry.tags], entries)
    first = {entry.path for entry in special}
    return manifest.to_text(tree, special, [entry for entry in entries if entry.path not in first])


def secret_text(tree, hidden, public, digests):
    """The text of SECRETS/manifest.mtree."""
    above = [entry._replace(tags=()) for entry in public if entry.type == "dir"]
    return manifest.to_text(
        tree, with_ancestors([with_digest(entry, digests) for entry in hidden], above), [])


def with_digest(entry, digests):
    return entry._replace(sha256=digests[entry.path]) if entry.type == "file" else entry


def known(entries, text, name):
    """{path: SHA-256} of those of `entries` whose size and time are in a manifest's `text` or None."""
    if text is None:
        return {}
    before = {each.path: each for part in manifest.from_text(text, name, every=True)[1:] for each in part}
    return {entry.path: before[entry.path].sha256 for entry in entries
            if entry.type == "file" and (there := before.get(entry.path)) and there.sha256
            and (there.size, there.time) == (entry.size, entry.time)}
