"""A client of a throw-away realm: our boot disk with the real venus, in a virtual machine on its wire."""

import io
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

from conftest import TOP
from conftest import command as run_command
from machine import BUILD, CARD, Gone, Machine, Shell, own_copy
from realm import ADMIN, ADMIN_PASSWORD, installed


def build_disk(target, realm, *options, cache="100MB"):
    """A boot disk in `target` whose venus knows `realm`. `options` for coda-build-disk."""
    done = run_command("coda-build-disk", f"--from={BUILD}/donor", f"--etc={TOP}/etc",
                       f"--venus={installed('venus')}", f"--realm={realm.name}",
                       f"--server={realm.host}={realm.address}", f"--cache-size={cache}", *options, target,
                       timeout=300)
    assert done.returncode == 0, done.stderr
    return target


class Client(Machine):
    """A machine on the realm's wire, with a disk of its own: caches stay from one boot to the next.

    `append` is of the kernel command line, as in Machine. `root` is the disk /dev/vdb, which forgets
    what is written to it, and `cache` the disk /dev/vdd, which keeps it.
    """

    def __init__(self, work, realm, boot, disk=None, append="", root=None, cache=None, **settings):
        work = Path(work)
        work.mkdir(parents=True, exist_ok=True)
        self.realm = realm
        net, self.tap = realm.wire()
        self.monitor = work / "monitor"
        if not root:
            root = work / "empty"  # so that the marker disk is /dev/vdc with and without
            root.write_bytes(bytes(1 << 16))
        super().__init__(
            work, boot=boot, disk=disk or own_copy(boot / "disk.img", work / "disk.img"), keep=True,
            append=append, root=root, nets=[net], prefix=realm.inside,
            card=f"{CARD},mac=52:54:00:00:00:{realm.taps:02x}",
            extra=["-monitor", f"unix:{self.monitor},server=on,wait=off",
                   *(["-drive", f"file={cache},format=raw,if=virtio"] if cache else [])], **settings)

    def shell(self):
        """The next shell on the console, as a function."""
        return Shell(self)

    def carrier(self, on):
        """Plug the cable in, or pull it: the card sees it."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self.monitor))
            for line in ("", f"set_link n0 {'on' if on else 'off'}\n"):
                monitor.sendall(line.encode())
                said = b""
                while not said.endswith(b"\n(qemu) "):  # the prompt after the command: it is done
                    said += monitor.recv(4096)

    def power_cut(self):
        self.process.kill()
        self.process.wait()


# Of busybox's four hundred; each name is sent to the server on its own.
APPLETS = ("awk cat chmod chown cmp cp cut date dd df dmesg du echo env find free grep head hostname id init"
           " kill ln ls md5sum mkdir mkfifo mknod more mount mv ping poweroff printf ps readlink reboot rm"
           " rmdir sed sh sleep sort stat sync tail tar test touch tr true umount uname unshare wc xargs")


def small_root(more):
    """A new root as the bytes of a tar archive: busybox, what a shell on the console needs, and `more`.

    `more` are programs, {path in the root: path here}.
    """
    busybox = shutil.which("busybox")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        def add(name, kind, mode=0o755, data=b"", target=""):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(data), target
            tar.addfile(member, io.BytesIO(data))

        for name in ("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp",
                     "usr", "usr/local", "usr/local/sbin"):
            add(name, tarfile.DIRTYPE)
        add("bin/busybox", tarfile.REGTYPE, data=Path(busybox).read_bytes())
        for applet in APPLETS.split():
            add(f"bin/{applet}", tarfile.SYMTYPE, target="busybox")
        add("sbin/init", tarfile.SYMTYPE, target="../bin/busybox")
        add("usr/local/sbin/proof", tarfile.REGTYPE, data=(TOP / "tests/boot/sample/proof").read_bytes())
        for path, source in more.items():
            add(path, tarfile.REGTYPE, data=source.read_bytes())
        add("etc/inittab", tarfile.REGTYPE, 0o644,
            b"::once:/usr/local/sbin/proof\n::respawn:-/bin/sh\n"
            b"::shutdown:/bin/busybox chroot /run/coda/world /shutdown\n")
        add("etc/passwd", tarfile.REGTYPE, 0o644, b"root:x:0:0:root:/root:/bin/sh\n")
        add("etc/resolv.conf", tarfile.SYMTYPE, target="../run/coda/resolv.conf")
        add("etc/motd", tarfile.REGTYPE, 0o644, b"a root in Coda\n")
    return packed.getvalue()


def login(shell, realm):
    """A token of the realm's administrator, for root of the client."""
    status, said = shell(f"echo {ADMIN_PASSWORD} | clog -pipe {ADMIN}@{realm.name}")
    assert status == 0, said


def mount_volume(shell, realm, name="linuxroot"):
    """Put the volume `name` in its place and let everybody read it: README, step 3. The place."""
    login(shell, realm)
    top, place = f"/coda/{realm.name}", f"/coda/{realm.name}/{name}"
    for line in (f"cfs sa {top} System:AnyUser rl",
                 f"cfs mkm {place} {name}",
                 f"cfs fr {top}",  # access lists are set at the server, which must know the place
                 f"cfs sa {place} System:AnyUser rl"):
        must(shell, line)
    return place


def must(shell, line, timeout=300):
    """Run a line that has to succeed; what it said. Raises Gone."""
    status, said = shell(line, timeout=timeout)
    if status:
        raise Gone(f"'{line}' ended with {status}: {said}")
    return said


def populate(realm, boot, work, more=()):
    """Make the volume linuxroot the new root of the realm: what an administrator does once."""
    archive = Path(work) / "root.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(small_root(dict(more)))
    with Client(work, realm, boot, root=archive, append="coda.break=wait-mount") as machine:
        shell = machine.shell()
        mount_volume(shell, realm)
        must(shell, f"coda-populate-root - {realm.root} </dev/vdb")
        left = shell(f"cfs lv {realm.root}")[1]
        assert "CML" not in left, left
        shell("vutil --shutdown; sleep 1")


def warm_disk(realm, boot, work):
    """The disk of a client that has read all of its root, and whose venus ended in good order."""
    # Before coda-mount-dev nothing covers the directories of the root.
    with Client(work, realm, boot, append="coda.break=mount-dev") as machine:
        shell = machine.shell()
        for kind, reads in (("d", "ls -l"), ("f", "cat")):  # ls reads links as well
            must(shell, f"find {realm.root} -type {kind} -exec {reads} '{{}}' + >/dev/null")
        must(shell, "vutil --shutdown; while pidof venus; do sleep 0.2; done")
        must(shell, "umount /coda; sync; mount -o remount,ro /")
    return machine.disk


# Of the Debian sample, what no boot reads: of 7,900 objects 5,200, and each file is sent on its own.
LEFT_OUT = ("usr/share/zoneinfo", "usr/lib/x86_64-linux-gnu/perl*", "usr/share/perl*",
            "usr/share/bash-completion", "usr/share/zsh", "usr/share/systemd", "usr/share/lintian",
            "usr/lib/x86_64-linux-gnu/gconv", "var/lib/dpkg")


def populate_debian(realm, source, work):
    """The same with most of the tree `source`; the directory of its secrets, copied to here."""
    image, boot, part = work / "source.img", build_disk(work / "disk", realm, cache="400MB"), work / "source"
    subprocess.run(["cp", "-a", "--reflink=auto", source, part], check=True)
    for pattern in LEFT_OUT:
        for path in part.glob(pattern):
            shutil.rmtree(path)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", part, image, "400M"], check=True)
    with Client(work / "client", realm, boot, root=image, append="coda.break=wait-mount") as machine:
        shell = machine.shell()
        mount_volume(shell, realm)
        must(shell, "mkdir /run/source && mount -t ext4 -o ro /dev/vdb /run/source")
        line = f"coda-populate-root --secrets=/var/lib/coda/secrets /run/source {realm.root}"
        for _ in range(3):  # venus ends now and then, and then it is run again
            status, said = shell(f"{line} 2>&1 | tail -n 3; [ -e {realm.root}.mtree ]", timeout=1800)
            print(said)
            if status == 0:
                break
            shell("vutil --shutdown; sleep 2; kill -9 $(pidof venus); umount -l /coda")
            must(shell, "coda-venus-start --config=/etc/coda/venus.conf -- venus")
            login(shell, realm)
        assert "nothing to change" in must(shell, line, 600)
        must(shell, "umount /run/source; vutil --shutdown; while pidof venus; do sleep 0.2; done")
        must(shell, "umount /coda; sync; mount -o remount,ro /")
    subprocess.run(["debugfs", "-R", f"rdump /var/lib/coda/secrets {work}", machine.disk], check=True)
    return work / "secrets"
