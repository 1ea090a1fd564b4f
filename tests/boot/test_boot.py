"""Whole boots that come up: the inits, the handoff modes, the cards, the break point, a step replaced,
and the init of the manual."""

import json
import subprocess

import pytest
from boot.conftest import is_clean, put
from conftest import TOP, need_programs, need_root
from machine import BUILD, DEAD_NET, PROMPT, USER_NET, own_copy, served_by_coda

pytestmark = pytest.mark.boot


def steps(proof):
    """The record the new root found, as {name: entry}, the last entry of a name winning."""
    return {entry["name"]: entry for entry in map(json.loads, proof["step"])}


@pytest.mark.parametrize("init, pid1", [
    ("systemd", "systemd /usr/lib/systemd/systemd"), ("sysvinit", "init /sbin/init"),
    ("busybox", "init /bin/busybox")])
def test_each_init_becomes_pid_1_with_its_root_in_coda_and_powers_off(boot, disk, init, pid1):
    machine = boot(init, disk=disk, keep=True)
    machine.wait()
    proof = machine.proof()
    assert served_by_coda(proof)
    assert proof["pid1"][0].replace("/usr", "") == pid1.replace("/usr", "")
    assert proof["userns"] == ["yes"]  # a plain chroot would forbid it: rename(2), userns
    overlay = {"coda-bind-client": 0, "coda-mount-root": 0} if init == "systemd" else {}
    assert {name: entry["status"] for name, entry in steps(proof).items()} == {
        "init": 0, "coda-fsck-root": 0, "coda-netup": 0, "coda-venus-start": 0, "coda-wait-mount": 0,
        "coda-mount-dev": 0, "coda-handoff": 0, **overlay}
    if init == "systemd":
        assert proof["system_state"] == ["running"] and proof["failed_units"] == [""]
    assert "Kernel panic" not in machine.text
    assert is_clean(disk)


def test_chroot_and_device_image_of_1998(boot, disk, tmp_path, run_command):
    image = tmp_path / "dev.img"
    # Numbers of virtio disks are given at run time; on this machine always these.
    table = tmp_path / "table"
    table.write_text("vdc b 660 0 6 254:32\n")
    made = run_command("coda-make-dev", f"--table={table}", image)
    assert made.returncode == 0, made.stderr
    put(disk, image, "/var/lib/coda/dev.img", 0o100644)
    machine = boot("busybox", "coda.handoff.mode=chroot coda.mount-dev.image=/var/lib/coda/dev.img"
                   " coda.mount-dev.tmp=8M", disk=disk)
    machine.wait()
    proof = machine.proof()
    assert proof["root_fstype"] == ["coda"]
    assert proof["pid1"] == ["init /usr/bin/busybox"]
    mounts = {line.split()[4]: line.split(" - ")[1].split()[0] for line in proof["mountinfo"]}
    assert mounts["/dev"] == "ext2" or mounts["/dev"] == "ext4"
    assert mounts["/tmp"] == "tmpfs"


def test_a_dead_second_card_costs_nothing(boot):
    machine = boot(nets=[DEAD_NET[0], USER_NET[0]])
    machine.wait()
    netup = steps(machine.proof())["coda-netup"]
    assert netup["status"] == 0
    # Its time-out for a DHCP answer is far longer than this.
    assert netup["end"] - netup["start"] < 15


def test_break_point_stops_and_resumes(boot):
    machine = boot(append="coda.break=coda-wait-mount")
    machine.expect("stopped before 'coda-wait-mount'")
    machine.expect(PROMPT)
    machine.send("stat -f -c is-%T /coda; exit")
    machine.expect("^is-")
    machine.wait()
    assert steps(machine.proof())["coda-handoff"]["status"] == 0


def test_a_step_replaced_by_a_shell_script(boot, disk, tmp_path):
    script = tmp_path / "netup"
    script.write_text('#!/bin/sh\nip link set lo up\necho "$0: my own network" >&2\n')
    put(disk, script, "/usr/local/sbin/coda-netup")
    machine = boot(disk=disk)
    machine.expect("/usr/local/sbin/coda-netup: my own network")
    machine.wait()
    assert steps(machine.proof())["coda-netup"]["status"] == 0


def test_the_init_of_the_manual_boots_as_it_stands(boot, disk, tmp_path):
    text = (TOP / "man/coda-boot.7").read_text().partition(".SS An init of your own")[2]
    script = tmp_path / "init"
    script.write_text(text.partition(".RS 4\n")[2].partition(".RE\n")[0].replace("\\-", "-"))
    put(disk, script, "/usr/sbin/own-init")
    # What its words stand for here: a venus by that name, and a realm.
    venus = tmp_path / "venus"
    venus.write_text("#!/bin/sh\nmount /dev/vdb /srv/coda && exec coda-local-venus /srv/coda\n")
    put(disk, venus, "/usr/sbin/venus")
    root = own_copy(BUILD / "sample-busybox/root.img", tmp_path / "root.img")
    subprocess.run(["debugfs", "-w", "-R", "symlink /example.org .", root], check=True, capture_output=True)
    machine = boot(None, "init=/usr/sbin/own-init", disk=disk, root=root)
    machine.wait()
    assert served_by_coda(machine.proof())


def test_dhcp_with_classless_routes_over_a_real_wire(boot, tmp_path):
    """dnsmasq in a network namespace, a tap between it and the guest, option 121 (RFC 3442)."""
    need_root()
    need_programs("dnsmasq", "ip")
    name = "codabt"

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    server = None
    try:
        ip("-n", name, "tuntap", "add", "tap0", "mode", "tap")
        ip("-n", name, "addr", "add", "10.77.0.1/24", "dev", "tap0")
        ip("-n", name, "link", "set", "tap0", "up")
        machine = boot(nets=["tap,ifname=tap0,script=no,downscript=no"],
                       prefix=("ip", "netns", "exec", name))
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, "dnsmasq", "--no-daemon", "--port=0", "--interface=tap0",
             "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--dhcp-option=3,10.77.0.99",
             "--dhcp-option=121,0.0.0.0/0,10.77.0.1,192.168.55.0/24,10.77.0.2",
             f"--dhcp-leasefile={tmp_path}/leases", "--conf-file=/dev/null"],
            stdout=subprocess.DEVNULL, stderr=open(tmp_path / "dnsmasq.log", "w"))
        machine.wait()
        proof = machine.proof()
    finally:
        if server:
            server.kill()
            server.wait()
        ip("netns", "del", name)
    # /proc/net/route has addresses as little-endian words.
    routes = {tuple(line.split()[1:3]) for line in proof["route"][1:]}
    assert ("00000000", "01004D0A") in routes
    assert ("0037A8C0", "02004D0A") in routes
    assert not any(gateway == "63004D0A" for _, gateway in routes)  # option 121 wins over option 3


def test_static_address_on_a_vlan(boot):
    """Here, as many a test machine's own kernel has no VLANs; the boot disk's loads 8021q for it."""
    machine = boot(append="ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0.5:none")
    machine.wait()
    routes = {tuple(line.split()[:3]) for line in machine.proof()["route"][1:]}
    assert ("eth0.5", "0000090A", "00000000") in routes
    assert ("eth0.5", "00000000", "0100090A") in routes
