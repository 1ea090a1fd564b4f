"""A virtual machine of the tests: QEMU without KVM, a serial console, a marker disk."""

import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
MARKER_BYTES = 1 << 20
CARD = "virtio-net-pci"
USER_NET = ("user",)
DEAD_NET = ("hubport,hubid=7",)  # a wire with a carrier and nobody on it
PROMPT = r"^/ # "


class Gone(AssertionError):
    """The machine ended, or said nothing of what was awaited in time."""


class Machine:
    """One run of QEMU. Everything it writes is in `work`; the images it is given are not changed
    unless `disk` is a copy of the caller's own (keep=True)."""

    def __init__(self, work, disk=None, root=None, append="", nets=USER_NET, boot=None, keep=False,
                 memory=1024, card=CARD, extra=(), prefix=()):
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.boot = Path(boot or BUILD / "disk")
        self.disk = Path(disk or self.boot / "disk.img")
        self.root = root
        self.keep = keep
        self.nonce = secrets.token_hex(8)
        self.marker_image = self.work / "marker"
        self.append = append
        self.nets = nets
        self.memory = memory
        self.card = card
        self.extra = extra
        self.prefix = prefix
        self.text = ""
        self.seen = 0
        self.changed = threading.Condition()
        self.process = None

    def argv(self, proof=True):
        """The command line of QEMU: vda the boot disk, vdb the sample root, vdc the marker."""
        append = f"root=/dev/vda console=ttyS0 panic=5 quiet {self.append}"
        if proof:
            append += f" proof={self.nonce}"
        drives = [(self.disk, "off" if self.keep else "on"), (self.root, "on"), (self.marker_image, "off")]
        argv = [*self.prefix, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi",
                "-cpu", "max", "-smp", "2", "-m", str(self.memory), "-nodefaults", "-display", "none",
                "-no-reboot", "-kernel", self.boot / "vmlinuz", "-initrd", self.boot / "initrd.img",
                "-append", append]
        for image, snapshot in drives:
            if image:
                argv += ["-drive", f"file={image},format=raw,if=virtio,snapshot={snapshot}"]
        for number, net in enumerate(self.nets):
            argv += ["-netdev", f"{net},id=n{number}", "-device", f"{self.card},netdev=n{number}"]
        return [str(word) for word in [*argv, *self.extra]]

    def start(self, echo=None, proof=True):
        """Start it; `echo` is called with each piece of text from the console."""
        with open(self.marker_image, "wb") as marker:
            marker.truncate(MARKER_BYTES)
        (self.work / "qemu.err").touch()
        self.process = subprocess.Popen(
            [*self.argv(proof), "-serial", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=open(self.work / "qemu.err", "w"), env={**os.environ, "TMPDIR": str(self.work)})
        self.echo = echo
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, *exception):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
            self.reader.join()
        (self.work / "console").write_text(self.text)

    def _read(self):
        while piece := os.read(self.process.stdout.fileno(), 65536):
            text = piece.decode(errors="replace").replace("\r", "")
            if self.echo:
                self.echo(text)
            with self.changed:
                self.text += text
                self.changed.notify_all()
        with self.changed:
            self.reader = threading.current_thread()
            self.changed.notify_all()

    def expect(self, pattern, timeout=120):
        """Wait until the console shows `pattern` after what was matched before; the match."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                match = re.compile(pattern, re.M).search(self.text, self.seen)
                if match:
                    self.seen = match.end()
                    return match
                left = end - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    why = "ended" if left > 0 else f"showed it not within {timeout} s"
                    raise Gone(f"awaited {pattern!r}; the machine {why}: {self.text[-3000:]}")
                self.changed.wait(min(left, 1.0))

    def send(self, line):
        """Type a line on the console."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, timeout=240):
        """Wait for power-off. Raises Gone when init opens its rescue shell, or time is up."""
        end = time.monotonic() + timeout
        with self.changed:
            while self.process.poll() is None:
                if "==> the boot stopped at" in self.text[self.seen:]:
                    self.changed.wait(2)  # for the rest of what it says
                    raise Gone(f"the boot stopped: {self.text[-3000:]}")
                if time.monotonic() > end:
                    raise Gone(f"still on after {timeout} s; its last words:\n{self.text[-3000:]}")
                self.changed.wait(1)
        self.reader.join()

    def proof(self):
        """What the new root wrote to the marker disk, as lists by key. Raises Gone without the nonce."""
        return read_proof(self.marker_image.read_bytes(), self.nonce)


def sample(init):
    """The settings of a Machine that boots the sample of `init`."""
    home, append, extra = BUILD / f"sample-{init}", "coda.fsck-root.also=LABEL=codaroot:/srv/coda", []
    if (home / "secrets.img").exists():
        append += " coda.fsck-root.also=LABEL=codasecrets:/mnt coda.mount-root.secrets=/mnt"
        extra = ["-drive", f"file={home}/secrets.img,format=raw,if=virtio,snapshot=on"]
    return {"root": home / "root.img", "append": append, "extra": extra}


def served_by_coda(proof):
    """Whether / is the Coda kernel module's, or an overlay whose layers, but the uppermost, all are.

    By statfs(2), of / and of each layer, and by the mount table.
    """
    root = [line.split() for line in proof["mountinfo"] if line.split()[4] == "/"][-1]
    kind, options = root[root.index("-") + 1], root[-1].split(",")
    if kind != "overlay":
        return proof["root_fstype"] == ["coda"] and kind == "coda"
    found, layers = zip(*(line.split(" ", 1) for line in proof.get("lower", ["none none"])), strict=True)
    return (proof["root_fstype"] == ["overlayfs"] and set(found) == {"coda"}
            and f"lowerdir={':'.join(layers)}" in options)


class Shell:
    """The shell of a machine: run a line, get (exit status, what it printed)."""

    def __init__(self, machine):
        self.machine = machine
        machine.expect(PROMPT)
        self.number = 0

    def __call__(self, line, timeout=60):
        self.number += 1
        self.machine.send(f"{{ {line}\n}} >/run/out 2>&1")
        self.machine.send(f'echo "end{self.number}=$?"; cat /run/out; echo __')
        # With the end of the line, as a number may come in two pieces.
        status = int(self.machine.expect(rf"^end{self.number}=(\d+)\n", timeout)[1])
        begin = self.machine.seen
        self.machine.expect("^__$")
        return status, self.machine.text[begin:self.machine.seen].strip("\n_")


def read_proof(marker, nonce):
    """The marker's key=value lines as {key: [values]}. Raises Gone when the nonce is not whole."""
    found = {}
    for line in marker.rstrip(b"\0").decode(errors="replace").splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    if found.get("nonce") != [nonce] or found.get("end") != [nonce]:
        raise Gone("the nonce did not come back from the new root")
    return found


def own_copy(image, target):
    """A copy of `image` that a test may change."""
    shutil.copyfile(image, target)
    subprocess.run(["fallocate", "--dig-holes", target], check=False)
    return Path(target)
