"""The manifest of a root in Coda and its stamp: coda-manifest(5), in the format of mtree(5)."""

import os
from binascii import a2b_base64, b2a_base64
from collections import namedtuple

from codaboot import cli

HEAD = "#mtree\n#coda-root 1\n#tree {}\n"
HELD = "#held"
STAMP = ".coda-root"
TYPES = ("file", "dir", "link", "fifo", "socket", "char", "block")
_PLAIN = frozenset(range(33, 127)) - frozenset(b"#=\\*?[")

Entry = namedtuple(
    "Entry", "path type mode uid gid size time sha256 link device inode nlink xattrs tags",
    defaults=(0, 0, "", "", None, 0, 1, (), ()))
Entry.__doc__ = """One object of a tree.

`path` is relative without "./" (the tree itself: ""), `type` one of TYPES, `mode` the twelve
bits, `size` bytes, `time` the last modification in nanoseconds, `sha256` hexadecimal, `link` the
target of a symbolic link, `device` (major, minor) or None. Entries with the same `inode` (0:
none) are one file with `nlink` names. `xattrs` is a tuple of (name, bytes), `tags` one of words.
Names are str as os.fsdecode makes them.
"""

Stamp = namedtuple("Stamp", "tree manifest secrets")
Stamp.__doc__ = """What ROOT/.coda-root says: an identity, and two SHA-256 (`secrets` may be "none")."""


def encode(text):
    """`text` as vis(3) writes it for mtree(5): octal for all that could be misread."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in os.fsencode(text))


def decode(text):
    """What encode made `text` of. Raises ValueError."""
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    raw = bytearray(first.encode())
    for part in rest:
        raw.append(int(part[:3], 8))
        raw += part[3:].encode()
    return os.fsdecode(bytes(raw))


def to_line(entry):
    """The line of `entry`, without its end."""
    words = [f"./{encode(entry.path)}" if entry.path else ".", f"type={entry.type}",
             f"mode={entry.mode:05o}" if entry.mode & 0o7000 else f"mode={entry.mode:04o}",
             f"uid={entry.uid}", f"gid={entry.gid}"]
    if entry.type == "file":
        words.append(f"size={entry.size}")
    words.append("time={}.{}".format(*divmod(entry.time, 10**9)))
    if entry.sha256:
        words.append(f"sha256={entry.sha256}")
    if entry.type == "link":
        words.append(f"link={encode(entry.link)}")
    if entry.device:
        words.append("device=native,{},{}".format(*entry.device))
    if entry.inode:
        words += [f"inode={entry.inode}", f"nlink={entry.nlink}"]
    for name, value in entry.xattrs:
        words.append(f"xattr.{encode(name)}={b2a_base64(value, newline=False).decode()}")
    if entry.tags:
        words.append(f"tags={','.join(entry.tags)}")
    return " ".join(words)


def from_line(line):
    """The Entry in `line`. Raises ValueError, whose text says what is wrong."""
    path, *words = line.split(" ")
    found, xattrs = {"xattrs": (), "tags": ()}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"no value in '{word}'")
        if key == "type" and value in TYPES or key == "sha256" and _is_digest(value):
            found[key] = value
        elif key == "mode":
            found[key] = _number(value, 8, 0o7777)
        elif key in ("uid", "gid", "inode", "nlink"):
            found[key] = _number(value, 10, 2**32 - 2)
        elif key == "size":
            found[key] = _number(value, 10, 2**63)
        elif key == "time":
            seconds, _, nanoseconds = value.partition(".")
            found[key] = int(seconds) * 10**9 + int(nanoseconds or 0)
        elif key == "link":
            found[key] = decode(value)
        elif key == "device":
            native, major, minor = value.split(",")
            found[key] = _number(major, 10, 4095), _number(minor, 10, 2**20 - 1)
        elif key == "tags":
            found[key] = tuple(value.split(","))
        elif key.startswith("xattr."):
            xattrs.append((decode(key[6:]), a2b_base64(value, strict_mode=True)))
        else:
            raise ValueError(f"cannot use '{word}'")
    if xattrs:
        found["xattrs"] = tuple(xattrs)
    try:
        return Entry(_path(path), **found)
    except TypeError:
        raise ValueError("type, mode, uid or gid is missing") from None


def _path(text):
    if text == ".":
        return ""
    path = decode(text[2:])
    if not text.startswith("./") or "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"'{text}' is no path in a tree")
    return path


def _number(text, base, most):
    if not text.isascii() or not text.isdigit() or int(text, base) > most:
        raise ValueError(f"'{text}' is no number up to {most}")
    return int(text, base)


def _is_digest(text):
    return len(text) == 64 and not text.strip("0123456789abcdef")


def to_text(tree, special, held):
    """The whole manifest of the tree with the identity `tree`: Entries before and after #held."""
    lines = [*map(to_line, special), HELD, *map(to_line, held)]
    return HEAD.format(tree) + "\n".join(lines) + "\n"


def from_text(text, name, every=False):
    """(identity of the tree, special Entries[, Entries that Coda holds]) in a manifest's text.

    The last one only when `every` is true: reading thousands of lines takes its time, and a boot
    needs but the first. Raises UsageError, which calls the manifest `name`.
    """
    lines = text.split("\n")
    special, held, number = [], [], 3
    try:
        if len(lines) < 4 or "\n".join(lines[:3]) + "\n" != HEAD.format(lines[2][6:]):
            number = 1
            raise ValueError("not a manifest of coda-root 1")
        end = lines.index(HELD)
        for part, first, last in ((special, 3, end), (held, end + 1, len(lines) - 1 if every else 0)):
            for index in range(first, last):
                number = index + 1
                part.append(from_line(lines[index]))
    except ValueError as error:
        raise cli.UsageError(f"cannot use the manifest '{name}': line {number}: {error}") from None
    return (lines[2][6:], special, held) if every else (lines[2][6:], special)


def stamp_to_text(stamp):
    """The content of ROOT/.coda-root."""
    return f"coda-root 1\ntree {stamp.tree}\nmanifest {stamp.manifest}\nsecrets {stamp.secrets}\n"


def stamp_from_text(text, name):
    """The Stamp in a text. Raises UsageError, which calls it `name`."""
    lines = text.split("\n")
    stamp = Stamp(*(line.partition(" ")[2] for line in lines[1:4])) if len(lines) == 5 else None
    if stamp is None or stamp_to_text(stamp) != text:
        raise cli.UsageError(f"cannot use the stamp '{name}': not one of coda-root 1")
    return stamp
