"""The file with the password: read only where nobody but root can."""

import os
import stat

from codaboot import cli, facts

NO_SECRET = 2


def refuse(path, reason, hint=None):
    raise cli.Failure(f"cannot use the secret in '{path}': {reason}", hint, NO_SECRET)


def mount_of(table, path):
    """The Mount that holds the absolute `path`, or None."""
    inside = [m for m in table if (path + "/").startswith(m.target.rstrip("/") + "/")]
    # Of equally long ones the later covers the earlier.
    return max(reversed(inside), key=lambda m: len(m.target), default=None)


def is_in_coda(mount, table):
    """Whether what lies on `mount` may come from Coda: itself, or below an overlay above it."""
    if mount.fstype == "coda":
        return True
    below = [word.partition("=")[2] for word in mount.super_options if word.startswith("lowerdir=")]
    folders = [folder for text in below for folder in text.split(":") if folder.startswith("/")]
    return any(found.fstype == "coda" for folder in folders if (found := mount_of(table, folder)))


def read(path, root="/"):
    """The one line in the file `path`. Raises Failure (2)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        link = os.path.islink(path)
        refuse(path, "it is a link" if link else error.strerror)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            refuse(path, "it is no file")
        if status.st_uid != 0 or status.st_mode & 0o077:
            refuse(path, "others than root may read it", f"chown root '{path}'; chmod 600 '{path}'")
        table = facts.mounts(root)
        # By its device first: after the handoff the table has the new root over "/", not so our own paths.
        device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
        mount = next((m for m in table if m.device == device), mount_of(table, os.path.realpath(path)))
        if mount and is_in_coda(mount, table):
            # Whatever its mode, a server gives it to whom the access list of its directory lets in.
            refuse(path, "it is in Coda", "keep it on the local disk")
        lines = file.read(4096).split(b"\n")
    if not lines[0] or any(lines[1:]):
        refuse(path, "it is not one line")
    try:
        return lines[0].decode()
    except UnicodeDecodeError:
        refuse(path, "it is not text")
