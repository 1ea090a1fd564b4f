"""coda-local-venus --semantics=coda beside the real venus: what a program sees of either is the same."""

import pytest
from boot.conftest import put
from client import Client, build_disk, mount_volume, must
from conftest import TOP

pytestmark = pytest.mark.coda

# Of the probes: what kills or wedges the real server or venus (coda-local-venus refuses it), what
# access lists decide there and modes here, and what would fill the cache.
WITHOUT = ("link to a symbolic link", "3000 names", "lseek beyond", "pwrite beyond", "user: ",
           "writing takes", "truncating takes", "root without capabilities")
# Where they differ, and why: (the real venus, coda-local-venus).
DIFFERENT = {
    # Faults of Linux, which coda-local-venus mends: coda-linux(7).
    "O_APPEND": ("b'2211'", "b'111122'"),
    "O_APPEND by two": ("b'b0b1b2b3b4'", "b'a0b0a1b1a2b2a3b3a4b4'"),
    "O_APPEND beside a plain writer": ("b'L'", "b'P12L'"),
    "mmap shared again and again": ("EPERM", f"b'{'2' * 20}{'a' * 80}'"),
    "mmap shared by two": ("EPERM", f"b'e{'a' * 99}end'"),
    # coda-local-venus(8).
    "name of 255": ("254", "255"),
    "chown": ("(1000, 50)", "(1000, 65534)"),
    "use after unlink": ("ETOOMANYREFS", "(b'kept\\x00\\x00\\x00\\x00\\x00\\x00', 0, 10, '0o100600')"),
}


@pytest.fixture(scope="module")
def seen(realm, tmp_path_factory):
    """({probe: outcome} with the real venus, the same with the local one)."""
    work = tmp_path_factory.mktemp("semantics")
    boot = build_disk(work / "disk", realm, f"--add={TOP}/bin/coda-local-venus:/usr/sbin/coda-local-venus")
    put(boot / "disk.img", TOP / "tests/boot/guest/exercise.py", "/root/exercise.py")
    without = " ".join(f"'{name}'" for name in WITHOUT)
    realm.volume("try")
    with Client(work, realm, boot, append="coda.break=wait-mount") as machine:
        shell = machine.shell()
        place = mount_volume(shell, realm, "try")
        must(shell, "mkdir -p /run/coda/local/try")
        logs = [must(shell, f"python3 /root/exercise.py --probes {place} {without}")]
        must(shell, "vutil --shutdown; while pidof venus; do sleep 0.2; done; umount /coda")
        must(shell, "coda-local-venus --semantics=coda /run/coda/local")
        logs.append(must(shell, f"python3 /root/exercise.py --probes /coda/try {without}"))
    return [dict(line.removeprefix("probe: ").rsplit(": ", 1) for line in log.splitlines()) for log in logs]


def test_it_refuses_and_does_the_same(seen):
    real, local = seen
    assert len(real) > 40
    assert {name: (real[name], local[name]) for name in real if real[name] != local[name]} == DIFFERENT
