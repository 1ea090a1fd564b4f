"""Who asks, and whether the permission bits let him: the kernel leaves all of this to Venus.

A message names a thread and its fsuid and nothing more. The rest stands in /proc, and cannot
change meanwhile: the thread waits for our answer.
"""

import errno
import os

READ, WRITE, EXECUTE = 4, 2, 1
# Bits of a capability set, include/uapi/linux/capability.h.
CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID = (1 << n for n in range(5))
ALL = (1 << 5) - 1
NOW = 2 * 10 ** 9  # nanoseconds: how far a time may be off and still mean "now"


class Caller:
    """A user for one operation: numbers, supplementary groups, capabilities (bits)."""

    __slots__ = ("uid", "gid", "groups", "capabilities")

    def __init__(self, uid, gid, groups=(), capabilities=0):
        self.uid, self.gid, self.groups, self.capabilities = uid, gid, groups, capabilities

    def may_use_group(self, gid):
        return gid == self.gid or gid in self.groups


def parse_status(text, uid, same_namespace=True):
    """The Caller that acts with fsuid `uid`, from the text of /proc/TID/status (proc(5)).

    Capabilities count only for a process in the first user namespace: in its own, anybody
    can have all of them.
    """
    facts = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts[key] = value.split()
    uids, gids = [int(word) for word in facts["Uid"]], [int(word) for word in facts["Gid"]]
    groups = tuple(int(word) for word in facts.get("Groups", ()))
    if uids[3] == uid:
        return Caller(uid, gids[3], groups, int(facts["CapEff"][0], 16) & ALL if same_namespace else 0)
    # The kernel acts with other credentials than the thread's own, and those are not in
    # /proc. As root: overlayfs with the rights of who mounted it. As another: access(2) in
    # a set-user-ID program, which asks for the real user.
    if uid == 0:
        return Caller(0, 0, (), ALL)
    return Caller(uid, gids[0] if uids[0] == uid else 65534, groups if uids[0] == uid else ())


def read_caller(proc, thread, uid):
    """The Caller behind a message; `proc` is a descriptor of /proc. Raises OSError."""
    try:
        fd = os.open(f"{thread}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            text = os.read(fd, 65536).decode(errors="replace")
        finally:
            os.close(fd)
        theirs = os.stat(f"{thread}/ns/user", dir_fd=proc)
        ours = os.stat("self/ns/user", dir_fd=proc)
    except (FileNotFoundError, ProcessLookupError):
        # Killed while it waited: nobody will read the answer.
        raise OSError(errno.EINTR, os.strerror(errno.EINTR)) from None
    return parse_status(text, uid, theirs.st_ino == ours.st_ino)


def plainly_allowed(mode, owner, mask, uid):
    """Whether the bits grant `mask` to `uid` whatever his groups and capabilities are."""
    if uid == owner:
        return mask & ~(mode >> 6) == 0
    return mask & ~(mode >> 6 & mode >> 3 & mode) == 0


def allowed(mode, owner, group, mask, caller):
    """generic_permission() of fs/namei.c, without access control lists."""
    if caller.uid == owner:
        bits = mode >> 6
    elif caller.may_use_group(group):
        bits = mode >> 3
    else:
        bits = mode
    if mask & 7 & ~bits == 0:
        return True
    directory = mode & 0o170000 == 0o040000
    if caller.capabilities & DAC_OVERRIDE and (directory or not mask & EXECUTE or mode & 0o111):
        return True
    return bool(caller.capabilities & DAC_READ_SEARCH) and not mask & WRITE and (
        directory or not mask & EXECUTE)


def plainly_granted(st, change, uid):
    """Whether judge_change would agree whatever the groups and capabilities of `uid` are."""
    if change.uid is not None or change.gid is not None:
        return False
    if uid == st.st_uid:
        return not (change.mode or 0) & 0o2000
    return change.mode is None and change.size is not None


def judge_change(st, change, caller, now):
    """Whether `caller` may make a protocol.Change to the object `st` describes, at `now` (ns).

    setattr_prepare() of fs/attr.c, which the Coda file system does not call. Takes the setgid
    bit out of `change.mode` where it must not be set. Raises OSError (EPERM).
    """
    owner = caller.uid == st.st_uid
    can = caller.capabilities
    mode = st.st_mode & 0o7777
    if change.uid is not None and not can & CHOWN and not (owner and change.uid == st.st_uid):
        _refuse()
    if change.gid is not None and not can & CHOWN and not (
            owner and (caller.may_use_group(change.gid) or change.gid == st.st_gid)):
        _refuse()
    if change.mode is not None:
        # Who writes to a file, or cuts it, takes its setuid bits away without owning it.
        only_cleared = change.size is not None and change.mode | 0o6000 == mode | 0o6000 \
            and not change.mode & ~mode
        if not (owner or can & FOWNER or only_cleared):
            _refuse()
        group = st.st_gid if change.gid is None else change.gid
        if change.mode & 0o2000 and not can & FSETID and not caller.may_use_group(group):
            change.mode &= ~0o2000
    # Times that come with a size are those of a write, which was judged at open(2).
    if change.size is None and (change.atime is not None or change.mtime is not None) and not (
            owner or can & FOWNER):
        # utimes(2) without times is for everybody who may write. The message does not tell it
        # from times of the caller's choice, but then both are the same, and now.
        if change.atime != change.mtime or abs(change.mtime - now) > NOW:
            _refuse()
        if not allowed(st.st_mode, st.st_uid, st.st_gid, WRITE, caller):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _refuse():
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
