"""A client among others, and what goes wrong while it boots and runs: token, cache, cable, server, venus."""

import re
import time

import pytest
from boot.conftest import is_clean
from client import Client, build_disk, login, must
from machine import PROMPT, own_copy
from realm import ADMIN

pytestmark = pytest.mark.coda

# From the new root: a line for the boot disk's world, where the lower tree and venus's tools are.
WORLD = "chroot /run/coda/world sh -c '{}'"
FAILED = "(coda-.*): failed, exit status ([0-9]+)$"


def until(shell, line, wanted, limit=90):
    """How long it took until `line` said something with `wanted` in it."""
    began = time.monotonic()
    while wanted not in (said := shell(line)[1]):
        assert time.monotonic() - began < limit, said
        time.sleep(0.2)
    return time.monotonic() - began


def send(shell, directory, line="{}"):
    """Send what waits in the volume of `directory`, and see that nothing is left."""
    until(shell, line.format(f"cfs fr {directory}; cfs lv {directory} | grep -c CML"), "\n0")


@pytest.fixture(scope="module")
def admin(realm, coda_disk, tmp_path_factory):
    """(machine, its shell before the root is laid out): the client of who changes the shared root."""
    machine = Client(tmp_path_factory.mktemp("admin"), realm, coda_disk,
                     append="coda.break=bind-client coda.bind-client.name=desk1").start(proof=False)
    with machine:
        shell = machine.shell()
        login(shell, realm)
        yield machine, shell
        print(f"--- console of the administrator's client\n{machine.text[-4000:]}")


def give(shell, realm, seconds):
    """Give root of the client a token that the server takes for so long."""
    answers = f"500\n{seconds / 3600:.5f}\nauth2token\n/mnt/token\n"
    realm.run("tokentool", input=answers)
    escaped = "".join(f"\\{byte:03o}" for byte in (realm.work / "token").read_bytes())
    must(shell, f"printf '{escaped}' >/run/token")
    must(shell, f"clog -fromfile /run/token {ADMIN}@{realm.name}")


def test_a_token_that_has_run_out(admin, realm):
    shell, top = admin[1], f"/coda/{realm.name}"
    must(shell, "umask 077; echo changeme >/etc/secret; umask 022; mkdir /run/source; echo 1 >/run/source/f")
    keep = f"coda-keep-token -v {ADMIN}@{realm.name} /etc/secret"
    assert "kept already" not in must(shell, keep)
    assert "kept already" in must(shell, keep)
    give(shell, realm, 15)
    must(shell, f"for d in root mnt; do echo 1 >{realm.root}/$d/before; done; cfs fr {realm.root}; sleep 16")
    # At the next call the server tells, and venus throws the token away, but not what it knew of rights.
    until(shell, f"cat {realm.root}/etc/passwd; ctokens @{realm.name}", "Not Authenticated")
    must(shell, f"echo 2 >{realm.root}/mnt/after")
    assert "CML" in must(shell, f"sleep 5; cfs fr {realm.root} >&-; cfs lv {realm.root} | grep CML")
    # So a tool that writes must ask for the token, not try.
    status, said = shell(f"coda-populate-root /run/source {top}/other")
    assert status == 111 and f"venus has no token for '{realm.name}'" in said
    assert shell(f"[ -e {top}/other/. ]")[0] == 1
    # Called again, the keeper's command does not take the keeper's word; what waited is sent.
    give(shell, realm, 1)
    shell("sleep 2")
    assert "kept already" not in must(shell, keep)
    assert "Expiration time" in must(shell, f"ctokens @{realm.name}")
    send(shell, realm.root)
    assert shell(f"cat {realm.root}/mnt/after") == (0, "2")
    must(shell, f"rm {realm.root}/mnt/* {realm.root}/root/*")
    send(shell, realm.root)


def test_a_cache_that_is_smaller_than_the_root(admin, client, realm, tmp_path):
    """2 MB are the least venus takes: 85 files, and none of more than 2 MB."""
    shell = admin[1]
    login(shell, realm)
    must(shell, f"cd {realm.root}/usr; dd if=/dev/zero of=large bs=64k count=48 2>&-; chmod 755 large;"
                " mkdir many; for i in $(seq 100); do echo $i >many/$i; done; cd /")
    send(shell, realm.root)
    disk = build_disk(tmp_path / "small", realm, cache="2MB")
    machine = client("coda.break=handoff", disk=own_copy(disk / "disk.img", tmp_path / "small.img"))
    small = machine.shell()
    assert shell(f"cat {realm.root}/usr/large | wc -c") == (0, str(3 << 20))
    # More files than it holds come and go; a file that does not fit cannot be read, and the handoff says so.
    assert small(f"cat {realm.root}/usr/many/* | wc -l") == (0, "100")
    assert "Input/output error" in small(f"cat {realm.root}/usr/large")[1]
    status, said = small("coda-handoff --dry-run /run/coda/root -- /usr/large")
    assert status == 126 and "larger than venus's cache" in said
    # To hoard too much is no error for venus; the check tells.
    hoard = f"coda-hoard-root {{}} {realm.root} /run/profile"
    must(small, hoard.format("--also=usr --load"))
    status, said = small(hoard.format("--check"))
    assert status == 2 and "/usr/large: " in said
    print(said.splitlines()[0])
    machine.power_cut()
    must(shell, f"rm -r {realm.root}/usr/large {realm.root}/usr/many")
    send(shell, realm.root)


def test_two_clients_on_one_root(admin, client, realm):
    (first, shell), top = admin, f"{realm.root}.clients"
    login(shell, realm)
    must(shell, f"for n in desk1 desk2; do mkdir -p {top}/$n/etc; echo $n >{top}/$n/etc/hostname; done")
    send(shell, f"/coda/{realm.name}")
    first.send("exit")
    second = client("coda.bind-client.name=desk2")
    first.expect("coda-handoff --rescue")
    one, two = first.shell(), second.shell()
    assert [one("cat /etc/hostname"), two("cat /etc/hostname")] == [(0, "desk1"), (0, "desk2")]
    assert [one("cat /etc/motd"), two("cat /etc/motd"), two("ls /root")] == [
        (0, "a root in Coda"), (0, "a root in Coda"), (0, "")]

    # A change in the shared root is seen by the other when it has been sent.
    must(one, WORLD.format(f"echo changed >{realm.root}/etc/motd; echo new >{realm.root}/root/new"))
    print(f"a change was seen by the other after {until(two, 'cat /etc/motd', 'changed'):.1f} s")
    send(one, realm.root, WORLD)  # a name that was looked for too early would be remembered as missing
    assert two("cat /root/new") == (0, "new")

    # What root changes while its cable is out is sent when it is back.
    first.carrier(False)
    must(one, WORLD.format(f"cd {realm.root}/root && echo kept >new && mkdir d && echo more >d/f"))
    until(one, WORLD.format(f"cfs lv -local {realm.root}"), "Unreachable")
    assert one("cat /root/d/f")[1] == "more" and two("cat /root/new") == (0, "new")
    first.carrier(True)
    took = until(one, WORLD.format(f"cfs lv -local {realm.root}"), "Reachable")
    print(f"the server was found again {took:.1f} s after the cable was back")
    send(one, realm.root, WORLD)
    until(two, "cat /root/new", "kept", 30)
    assert two("cat /root/d/f") == (0, "more")

    must(one, WORLD.format(f"rm -r {realm.root}/root/*; echo a root in Coda >{realm.root}/etc/motd"))
    send(one, realm.root, WORLD)
    for machine in (first, second):
        machine.send("poweroff")
    for machine in (first, second):
        machine.wait(90)
        assert is_clean(machine.disk)


def test_the_server_dies_in_the_middle_of_a_boot(client, realm):
    machine = client("coda.break=bind-client coda.retry=9")
    machine.expect("stopped before")
    machine.expect(PROMPT)
    # From a cold cache: a reason, in bounded time.
    realm.hold()
    began = time.monotonic()
    machine.send("exit")
    step = machine.expect(FAILED, 60)
    print(f"{step[1]} gave up after {time.monotonic() - began:.1f} s, with {step[2]}")
    assert step[2] == "111" and time.monotonic() - began < 40
    assert re.search(r"no server (gives|answers)", machine.text)
    # Back, it goes on by itself.
    realm.release()
    began = time.monotonic()
    machine.expect("coda-handoff --rescue")
    print(f"and the boot went on to its end within {time.monotonic() - began:.1f} s")
    shell = machine.shell()
    assert shell("cat /etc/motd; cat /proc/1/comm")[1].split("\n")[-1] == "init"

    # The same while it runs: what is in the cache works, the rest ends in bounded time.
    realm.hold()
    assert shell("cat /etc/motd") == (0, "a root in Coda")
    began = time.monotonic()
    status, said = shell("readlink /bin/awk", 60)
    print(f"what is not in the cache was given up after {time.monotonic() - began:.1f} s")
    assert status and time.monotonic() - began < 40
    realm.release()
    print(f"and there {until(shell, 'readlink /bin/awk', 'busybox', 120):.1f} s after the server was back")
    machine.send("poweroff")
    machine.wait(90)
    assert is_clean(machine.disk)

    # From a warm cache the boot goes on.
    machine = client("coda.break=bind-client", disk=machine.disk)
    machine.expect("stopped before")
    machine.expect(PROMPT)
    realm.hold()
    began = time.monotonic()
    machine.send("exit")
    machine.expect("coda-handoff --rescue", 120)
    shell = machine.shell()
    assert shell("cat /etc/motd; cat /proc/1/comm") == (0, "a root in Coda\ninit")
    print(f"from a warm cache the rest of the boot took {time.monotonic() - began:.1f} s")
    realm.release()

    # A dead venus takes its programs along; the boot disk has others, and what the keeper of the lease
    # sees is where a new venus belongs. It serves the root that is there.
    busybox = "/run/coda/disk/bin/busybox"
    shell(f'cat() {{ {busybox} cat "$@"; }}')  # for Shell itself
    status, said = shell(f"kill -9 $(pidof venus); {busybox} sleep 1; /bin/cat /etc/motd")
    assert status == 126 and "No such device or address" in said
    must(shell, f"{busybox} chroot /proc/$(cat /run/coda/netup.pid)/root"
                " /usr/sbin/coda-venus-start --config=/etc/coda/venus.conf -- venus")
    shell("unset -f cat")
    assert shell("cat /etc/motd; ls /run/coda/world/var/lib/coda/DATA")[0] == 0
    until(shell, "readlink /bin/awk; readlink /bin/wc", "busybox\nbusybox", 120)
    machine.send("poweroff")
    machine.wait(90)
    assert is_clean(machine.disk)
