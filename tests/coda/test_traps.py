"""coda-venus-start and coda-wait-mount with the real venus, whose success and failure look alike.

One boot to a shell before coda-wait-mount, and every trap in its turn.
"""

import re

import pytest
from client import Client, login

pytestmark = pytest.mark.coda

START = "coda-venus-start --config=/etc/coda/venus.conf"
KEPT = "/var/lib/coda"


@pytest.fixture(scope="module")
def shell(realm, coda_disk, tmp_path_factory):
    work = tmp_path_factory.mktemp("traps")
    with Client(work, realm, coda_disk, append="coda.break=wait-mount") as machine:
        yield machine.shell()
        print(machine.text[-4000:])


@pytest.fixture
def wait(shell, realm):
    def wait(root=realm.root, *options):
        return shell(f"coda-wait-mount --timeout=20 --settle=1 {' '.join(options)} {root}")
    return wait


@pytest.fixture
def down(shell):
    """venus is gone, in good order, and so is its mount."""
    def down():
        shell("vutil --shutdown; while pidof venus; do sleep 0.2; done; umount /coda")
    return down


def test_the_first_boot_made_cache_and_records(shell):
    assert shell(f"ls {KEPT}/LOG {KEPT}/DATA")[0] == 0
    assert shell(f"ls {KEPT}/cache/INIT")[0] == 1
    # The room that the builder leaves is enough for what venus takes.
    sizes = shell(f"stat -c %s {KEPT}/LOG {KEPT}/DATA")[1].split()
    assert sum(map(int, sizes)) < 100 * 1.25 * (1 << 20) + (80 << 20) - (100 << 20)


def test_all_of_the_root_belongs_to_root_also_for_a_client_that_did_not_make_it(shell, realm):
    # A link's owner cannot be changed in Coda.
    everything = f"find {realm.root} {realm.root}.mtree ! -type l"
    assert int(shell(f"{everything} | wc -l")[1]) > 20
    assert shell(f"{everything} ! -user 0") == (0, "")


def test_the_root_is_there_and_connected(wait):
    status, said = wait()
    assert status == 0, said
    status, said = wait("", "--cfs=cfs")
    assert status == 100, said


def test_the_state_is_told(shell, realm):
    assert shell(f"coda-wait-mount --cfs=cfs --require=connected {realm.root} 2>&-") == (0, "connected")


def test_the_faults_of_coda_linux_7_are_there(shell, realm):
    login(shell, realm)
    assert shell(f"cd {realm.root}/mnt && (echo 1111 >f; echo 2 >>f; cat f)") == (0, "2\n11")
    twice = "import mmap; f = open('f', 'r+b'); [mmap.mmap(f.fileno(), 4).close() for _ in 'ab']"
    status, said = shell(f"cd {realm.root}/mnt && python3 -c \"{twice}\"; cd /")
    assert "PermissionError" in said
    # A file that is read ten times: the one question, and ten ends of a read although the answer was no.
    for line in ("mount -t tracefs tracefs /sys/kernel/tracing; cd /sys/kernel/tracing",
                 "echo 'p:coda coda_upcall op=+0(%cx):u32' >kprobe_events",
                 "echo hist:keys=op >events/kprobes/coda/trigger",
                 f"dd if={realm.root}/etc/passwd of=/dev/null bs=1 count=10"):
        assert shell(line)[0] == 0, line
    counts = re.findall(r"op: +(\d+) } hitcount: +(\d+)", shell("cat events/kprobes/coda/hist")[1])
    assert dict(counts)["37"] == "11"
    assert shell("echo '!hist:keys=op' >events/kprobes/coda/trigger; echo >kprobe_events; cd /;"
                 " umount /sys/kernel/tracing")[0] == 0
    assert shell(f"rm {realm.root}/mnt/f; cd /; cfs fr {realm.root}; cunlog @{realm.name}")[0] == 0


def test_any_name_in_coda_is_a_link_and_no_root(shell, wait):
    assert shell("readlink /coda/no.such.realm")[1].startswith("#")
    status, said = wait("/coda/no.such.realm/linuxroot")
    assert status == 99
    assert "its server is not reached" in said


def test_a_name_that_the_realm_has_not_is_a_definite_no(wait, realm):
    status, said = wait(f"{realm.root}/nothing")
    assert status == 3, said


def test_a_caller_that_reads_what_it_says_comes_back(shell, down):
    """codatunneld keeps venus's output open for as long as it lives."""
    down()
    assert shell(f"said=$({START} -- venus 2>&1 | cat)", timeout=60)[0] == 0
    assert shell(f"{START} -v -- venus | cat")[1] == "coda-venus-start: '/coda' answers already"


def test_a_dead_venus_is_told_from_a_root_that_is_not_there(shell, wait):
    shell("kill -9 $(pidof venus)")
    status, said = wait()
    assert status == 2, said


def test_a_dead_venus_in_use_is_not_taken_away(shell):
    status, said = shell(f"(cd /coda && sleep 60) & sleep 0.5; {START} -- venus")
    # The working directory of a dead venus may not even be entered: then nobody holds it.
    assert status in (0, 2), said
    shell("kill %1; sleep 0.2")


def test_its_mount_is_replaced_and_its_records_recover(shell, wait):
    status, said = shell(f"{START} -v -- venus")
    assert status == 0, said
    assert wait()[0] == 0
    assert shell("grep -c 'Last shutdown was dirty' /run/coda/venus.log")[1] != "0"


@pytest.mark.parametrize("damage, says", [
    (f"dd if=/dev/urandom of={KEPT}/DATA bs=1M count=3 conv=notrunc 2>/dev/null", "rds_load_heap failed"),
    (f"truncate -s 1000000 {KEPT}/DATA", "becoming a zombie"),
    (f"dd if=/dev/urandom of={KEPT}/LOG bs=1M count=1 2>/dev/null", "RVM_INIT failed"),
    (f"rm {KEPT}/DATA", "the data is not there"),
    (f": >{KEPT}/LOG", "the log is empty")])
def test_damaged_records_are_kept_and_started_anew_when_asked(shell, wait, down, damage, says):
    down()
    shell(f"{damage}; rm -rf {KEPT}/*.damaged.*; ls -l {KEPT} >/run/before")
    status, said = shell(f"{START} -- venus", timeout=40)
    assert status == 5, said
    assert says in said and "--on-damage=renew" in said
    assert shell("pidof venus")[0] == 1
    assert shell(f"ls -l {KEPT} | cmp - /run/before")[0] == 0
    status, said = shell(f"{START} --on-damage=renew -- venus", timeout=60)
    assert status == 0, said
    assert shell(f"ls {KEPT}/cache.damaged.1")[0] == 0
    assert wait()[0] == 0
