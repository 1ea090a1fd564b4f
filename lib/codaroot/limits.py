"""What of a tree Coda cannot or should not hold: each object, judged by class (classes.py)."""

import os
import re
import stat
import struct
from collections import namedtuple

from localvenus import semantics

from codaroot.classes import SERVICES, UNITS
from codaroot.manifest import STAMP

LARGEST = 2**31 - 1  # s_maxbytes of the kernel's Coda
LONGEST_NAME = 254  # venus takes one byte more, and then lists the name without its last
NEW = f"{STAMP}.new"  # the name of what is being written, in any directory
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
KEY_ROOM = 1 << 16  # a file with a private key is no larger, and it begins in the first quarter

_EXPANDED = re.compile(r"@(sys|cpu)(/|$)")
_KEY = re.compile(rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----\r?\n", re.M)
_WRITTEN = re.compile(
    r"(usr/)?var/(log|spool|mail)/|(usr/)?var/.*\.(db|sqlite3?|ldb|mdb|gdbm)$|.*\.(sqlite3?|journal)$")

Finding = namedtuple("Finding", "word path note")
Finding.__doc__ = """One object of a class: the class's word, the path, and what is to be said of it."""

Judgement = namedtuple("Judgement", "public hidden findings twins")
Judgement.__doc__ = """The Entries that everybody may see and those that go to the secrets, both with their
`tags`, with an `inode` only where Coda cannot hold it, and in their order; all Findings; and the
`twins`, {path: the first name of the same file in the same directory} of regular files."""


def judge(tree, peek=True):
    """The Judgement of a Tree or Tar. `peek` into files for keys and databases: it takes its time."""
    entries = tree.entries
    links = _links(entries)
    hidden = _hidden(entries, links)
    public, secret, findings = [], [], []
    for entry in entries:
        group = links.get(entry.path)
        words = lost(entry)
        if group and group.spread:
            words.append("hardlink")
        if entry.path in hidden:
            words.append(hidden[entry.path])
        findings += [Finding(word, entry.path, note(word, entry)) for word in words]
        keep = group and (group.spread or words)
        entry = entry._replace(tags=tuple(words), inode=group.number if keep else 0,
                               nlink=group.count if keep else 1)
        (secret if entry.path in hidden else public).append(entry)
    findings += decisions(public)
    findings += services(entries)
    findings += _contents(tree, public, secret) if peek else []
    return Judgement(public, secret, findings, twins(entries))


def lost(entry):
    """The words for what Coda cannot hold of `entry` by itself, as a list."""
    words, mode = [], entry.mode
    if entry.type not in ("file", "dir", "link"):
        words.append("special")
    if entry.type != "link":
        words += [word for bit, word in ((stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid"),
                                         (stat.S_ISVTX, "sticky")) if mode & bit]
        owner, group, others = mode >> 6 & 7, mode >> 3 & 7, mode & 7
        # The group is lost, so it must not differ; of a file only the owner's bits count, so
        # they must allow what others may; a directory lets in everybody.
        if group != others or others & ~owner or entry.type == "dir" and not _open(entry):
            words.append("mode")
    elif len(os.fsencode(entry.link)) > semantics.LONGEST_TARGET or _EXPANDED.search(entry.link):
        words.append("target")
    words += ["owner"] * (entry.uid != 0) + ["group"] * (entry.gid != 0)
    for name, _ in entry.xattrs:
        word = "capability" if name == "security.capability" else "acl" if name in ACLS else "xattr"
        if word not in words:
            words.append(word)
    return words


def note(word, entry):
    """What a report says of `entry` beside its path."""
    if word in ("setuid", "setgid", "sticky", "mode", "secret"):
        return f"{entry.mode:04o} {entry.uid}:{entry.gid}"
    if word in ("owner", "group"):
        return f"{entry.uid}:{entry.gid}"
    if word in ("acl", "xattr", "capability"):
        return " ".join(name for name, _ in entry.xattrs)
    return {"special": entry.type, "target": f"-> {entry.link[:60]}"}.get(word, "")


def _open(entry):
    """Whether everybody may read `entry`, a file, or list and enter it, a directory."""
    bits = 4 if entry.type == "file" else 5
    if entry.mode & bits != bits or entry.mode >> 3 & bits != bits:
        return False
    acl = dict(entry.xattrs).get(ACLS[0])
    return acl is None or all(bits & rights == bits for rights in _rights(acl))


def _rights(acl):
    """What an access control list (linux/posix_acl_xattr.h) gives to others than the owner."""
    try:
        return [rights for tag, rights, _ in struct.iter_unpack("<HHI", acl[4:]) if tag != 1]
    except struct.error:
        return [0]


def _hidden(entries, links):
    """{path: "secret" or "name"} of all that must not be in the shared tree."""
    hidden, closed = {}, {}
    for entry in entries:
        directory, _, name = entry.path.rpartition("/")
        reason = closed.get(directory) if entry.path else None
        if reason is None and _EXPANDED.search(name):
            reason = "name"
        if reason is None and entry.type == "file" and not _open(entry):
            reason = "secret"
        if reason:
            hidden[entry.path] = reason
        # The top is the tree: were it closed, nothing would be left (decisions() speaks of it).
        if entry.type == "dir" and entry.path and (reason or not _open(entry)):
            closed[entry.path] = reason or "secret"
    # A file that is hidden under one of its names is hidden under all: it could not be put
    # together again from two manifests.
    for path, group in links.items():
        if path not in hidden and any(other in hidden for other in group.paths):
            hidden[path] = "secret"
    return hidden


def twins(entries):
    """{path: path of the first} of the names that one file has in one directory, but for the first."""
    first, found = {}, {}
    for entry in entries:
        if entry.inode and entry.type == "file":
            key = entry.path.rpartition("/")[0], entry.inode
            if first.setdefault(key, entry.path) != entry.path:
                found[entry.path] = first[key]
    return found


_Links = namedtuple("_Links", "number count spread paths")


def _links(entries):
    """{path: _Links} of the objects with more than one name in the tree, numbered in order."""
    groups = {}
    for entry in entries:
        if entry.inode:
            groups.setdefault(entry.inode, []).append(entry)
    groups = [group for group in groups.values() if len(group) > 1]
    found = {}
    for number, group in enumerate(groups, 1):
        paths = [entry.path for entry in group]
        spread = group[0].type == "link" or len({path.rpartition("/")[0] for path in paths}) > 1
        found |= dict.fromkeys(paths, _Links(number, len(paths), spread, paths))
    return found


def in_tree(entry):
    """Whether the public `entry` is in the shared tree at all, and not in the manifest alone."""
    return entry.type in ("file", "dir") or entry.type == "link" and "target" not in entry.tags


def cost(names):
    """What a directory with `names` costs in Coda, with the one we write under."""
    return sum(semantics.entry_cost(os.fsencode(name)) for name in {*names, NEW})


def decisions(public):
    """Findings of what cannot go into the shared tree, and for which there is no remedy but a person's."""
    names, found = {"": {STAMP}}, []
    if not _open(public[0]):
        found.append(Finding("closed", "", note("mode", public[0])))
    for entry in public[1:]:
        if not in_tree(entry):
            continue
        directory, _, name = entry.path.rpartition("/")
        names.setdefault(directory, set()).add(name)
        length = len(os.fsencode(name))
        if length > LONGEST_NAME:
            found.append(Finding("long", entry.path, f"{length} bytes"))
        if name == NEW:
            found.append(Finding("reserved", entry.path, ""))
        if entry.type == "file" and entry.size > LARGEST:
            found.append(Finding("large", entry.path, f"{entry.size} bytes"))
    return found + full(names)


def full(names):
    """Findings of the directories whose {path: names} do not fit into a directory of Coda."""
    return [Finding("directory", path, f"{len(inside)} names, {blobs} of {semantics.DIRECTORY_BLOBS} units")
            for path, inside in names.items()
            if (blobs := cost(inside)) > semantics.DIRECTORY_BLOBS]


def services(entries):
    """Findings of services that do what /coda refuses, by the files that start them."""
    paths = {entry.path for entry in entries}
    return [Finding("service", path, f"{name} {what}") for name, what in SERVICES.items()
            for unit in UNITS if (path := unit.format(name)) in paths]


def _contents(tree, public, hidden):
    """Findings that need a look at names and first bytes: files in use, keys for everybody."""
    found = [Finding("written", entry.path, "") for entry in [*public, *hidden]
             if entry.type == "file" and _WRITTEN.match(entry.path)]
    for entry in public:
        if entry.type != "file" or not 64 <= entry.size <= KEY_ROOM:
            continue
        with tree.open(entry.path) as file:
            start = file.read(KEY_ROOM // 4)
        if _KEY.search(start):
            found.append(Finding("key", entry.path, "a private key"))
        elif start[:2] == b"\x05\x02" and "keytab" in entry.path:
            found.append(Finding("key", entry.path, "a keytab"))
        elif start.startswith(b"SQLite format 3\0") and not _WRITTEN.match(entry.path):
            found.append(Finding("written", entry.path, "an SQLite database"))
    return found
