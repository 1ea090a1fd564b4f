"""The files that coda-build-disk writes: an ext4 image and an initrd, both the same each time."""

import gzip
import hashlib
import os
import stat
import uuid

from codaboot import cli, run, say

BLOCK = 4096
EPOCH = 1  # seconds; debugfs and mke2fs take 0 for "now"
# user_xattr, acl and nodelalloc: tune2fs(8), -o. Without delayed allocation a commit of the journal
# has all data that was written before it.
MOUNT_OPTIONS = 0x80c
JOURNALLED = 0x84000  # chattr(1), +j and e: fdatasync of such a file is a commit of the journal


def image_size(entries, sizes, spare):
    """Bytes for a file system that holds `entries` and has `spare` bytes free."""
    blocks = sum(-(-sizes[path] // BLOCK) + 1 for path in entries)
    # 4 %: mke2fs's tables of inodes and groups.
    bytes_ = (blocks * BLOCK + spare) * 1.04 + 256 * len(entries) + (8 << 20)
    return -(-int(bytes_) // (1 << 20)) << 20


def debugfs_script(entries):
    """debugfs(8) commands that make `entries`, a dict by path in sorted order."""
    script, here = [], None
    for path, entry in entries.items():
        parent, name = os.path.split(path)
        if parent != here:
            script.append(f'cd "{parent}"')
            here = parent
        if entry.kind == "dir":
            script.append(f'mkdir "{name}"')
        elif entry.kind == "link":
            script.append(f'symlink "{name}" "{entry.source}"')
            continue
        else:
            script.append(f'write "{entry.source}" "{name}"')
        kind = stat.S_IFDIR if entry.kind == "dir" else stat.S_IFREG
        script.append(f'sif "{name}" mode 0{kind | entry.mode:o}')
    return "\n".join(script) + "\n"


def newc(members):
    """A cpio archive, "newc" form (initramfs buffer format, kernel documentation), of
    (path, mode with type bits, content) members."""
    archive = bytearray()
    for number, (path, mode, data) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def counted(program, what, total, *args):
    """Run a tool that prints a line for each of `total` pieces of work, and show how far it is."""
    progress, lines = say.Progress(what, total), []

    def line(text):
        lines.append(text)
        progress.update(len(lines))

    done = run.tool(program)(*args, _out=line)
    progress.end()
    return done


def write_image(entries, path, work, label, spare, records=None):
    """The ext4 image of `entries`; everything in it follows from their names and contents.

    When a file made in the directory `records` is synced, all that was written before is on the disk too.
    """
    sizes = {p: os.path.getsize(e.source) if e.kind == "file" else 0 for p, e in entries.items()}
    digest = hashlib.sha256()
    for name, entry in entries.items():
        digest.update(f"{name}\0{entry.kind}\0{entry.mode}\0".encode())
        digest.update(open(entry.source, "rb").read() if entry.kind == "file" else entry.source.encode())
    identity = uuid.UUID(bytes=digest.digest()[:16], version=4)
    os.environ["E2FSPROGS_FAKE_TIME"] = str(EPOCH)
    with open(path, "wb") as image:
        image.truncate(image_size(entries, sizes, spare))
    run.tool("mke2fs")("-q", "-t", "ext4", "-b", BLOCK, "-m", 0, "-L", label, "-U", identity, "-J", "size=4",
                       "-E", f"hash_seed={identity},lazy_itable_init=0,root_owner=0:0", "-F", path)
    script = debugfs_script(entries)
    if records:
        script += f'ssv default_mount_opts {MOUNT_OPTIONS:#x}\nsif "{records}" flags {JOURNALLED:#x}\n'
    with open(f"{work}/script", "w") as file:
        file.write(script)
    done = counted("debugfs", "writing the disk", script.count("\n"), "-w", "-f", f"{work}/script", path)
    # debugfs exits 0 whatever happens; it names a failed command before its message.
    wrong = [line for line in done.stderr.decode(errors="replace").splitlines()[1:] if line.strip()]
    if wrong:
        raise cli.Failure(f"cannot write '{path}': {wrong[0]}")
    run.program(["e2fsck", "-fn", path])
    return sizes


def write_initrd(path, etc, modules, busybox):
    """The initrd a stock Debian kernel needs to reach its disk: busybox, modules, a script."""
    def content(name):
        with open(name, "rb") as file:
            return file.read()

    members = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "proc", "sys", "disk", "modules")]
    members += [("bin/busybox", stat.S_IFREG | 0o755, content(busybox)),
                ("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
                ("init", stat.S_IFREG | 0o755, content(f"{etc}/initrd"))]
    members += [(f"modules/{number:02}-{os.path.basename(module)}", stat.S_IFREG | 0o644, content(module))
                for number, module in enumerate(modules)]
    with open(path, "wb") as file:
        file.write(gzip.compress(newc(members), 6, mtime=0))
