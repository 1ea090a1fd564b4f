"""Machines for the boot tests: made per test, killed after it, their console kept on failure."""

import subprocess

import pytest
from conftest import need_programs
from machine import BUILD, Machine, Shell, own_copy, sample

SAMPLE = "coda.fsck-root.also=LABEL=codaroot:/srv/coda"


def put(image, source, path, mode=0o100755):
    """Put the file `source` at `path` of the ext4 image, in place of what is there."""
    folder, name = path.rsplit("/", 1)
    script = f'cd "{folder}"\nrm "{name}"\nwrite "{source}" "{name}"\nsif "{name}" mode 0{mode:o}\n'
    subprocess.run(["debugfs", "-w", "-f", "-", image], input=script, text=True, check=True,
                   capture_output=True)


def is_clean(image):
    """Whether the ext4 file system in `image` was left in order: an empty journal, no error."""
    state = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True).stdout
    check = subprocess.run(["e2fsck", "-fn", image], capture_output=True)
    return "needs_recovery" not in state and check.returncode == 0


@pytest.fixture(autouse=True)
def _needs():
    need_programs("qemu-system-x86_64", "debugfs", "e2fsck")
    from conftest import need
    need((BUILD / "disk/disk.img").exists() and (BUILD / "sample-systemd/root.img").exists(),
         "the boot disk and the samples ('make check-boot' builds them)")


@pytest.fixture
def disk(tmp_path):
    """A boot disk of the test's own."""
    return own_copy(BUILD / "disk/disk.img", tmp_path / "disk.img")


@pytest.fixture
def boot(tmp_path):
    """Start a machine with the sample of `init`: boot("systemd", "kernel words", nets=...)."""
    machines = []

    def start(init="busybox", append="", **settings):
        of_sample = sample(init) if init else {"append": "", "extra": []}
        of_sample["append"] += f" {append}"
        of_sample["extra"] = [*of_sample["extra"], *settings.pop("extra", ())]
        machine = Machine(tmp_path / f"vm{len(machines)}", **{**of_sample, **settings})
        machines.append(machine)
        return machine.start()

    yield start
    for machine in machines:
        machine.__exit__()
        print(f"--- console of the machine, {machine.work}/console\n{machine.text[-4000:]}")


@pytest.fixture
def shell(boot, disk, tmp_path):
    """A shell before coda-wait-mount, with a local venus of the semantics asked for."""
    def start(semantics):
        conf = tmp_path / "conf"
        conf.write_text(f"break=coda-wait-mount\nvenus=coda-local-venus --semantics={semantics} /srv/coda\n")
        put(disk, conf, "/etc/coda-boot.conf", 0o100644)
        put(disk, BUILD.parent / "tests/boot/guest/exercise.py", "/root/exercise.py")
        return Shell(boot("busybox", disk=disk, keep=True))
    return start
