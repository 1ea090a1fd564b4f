#!/usr/bin/env python3
"""Measurements with a real Coda, below CODA_PREFIX; numbers only, in build/bench-coda.json.

A throw-away server and clients in virtual machines, as in tests/coda. A client that is warm has
read all of its root, and its venus ended in good order.
"""

import contextlib
import json
import shutil
import sys

from bench import BUILD, GUEST, TOP, bench_lines, figure, figures

sys.path.append(str(TOP / "tests/coda"))

from boot.conftest import put  # noqa: E402
from client import Client, build_disk, populate, populate_debian, warm_disk  # noqa: E402
from machine import Machine, own_copy  # noqa: E402
from realm import Realm  # noqa: E402

RUNS = 3  # a boot takes half a minute, and there are many
STAMP = "coda.overlay=off coda.init=/usr/local/sbin/stamp"  # the 1998 way: the same steps for both


def counters(realm, tap):
    """(bytes, packets) that went over the wire of a client, both ways."""
    told = json.loads(realm.run("ip", "-j", "-s", "link", "show", tap).stdout)[0]["stats64"]
    return tuple(told["rx"][key] + told["tx"][key] for key in ("bytes", "packets"))


def run(work, realm, boot, disks, append):
    """Boot a client from a copy of each of `disks`, all at once: (console, bytes, packets) of each."""
    clients = [Client(work / str(number), realm, boot, append=append,
                      disk=own_copy(disk, boot / f"copy{number}")) for number, disk in enumerate(disks)]
    with contextlib.ExitStack() as stack:
        for client in clients:
            stack.enter_context(client.start(proof=False))
        for client in clients:
            client.expect("^BENCH end 0", 300)
        return [(client.text, *counters(realm, client.tap)) for client in clients]


def ours(text):
    start = next(json.loads(line[7:])["start"] for line in text.splitlines() if line.startswith("RECORD "))
    return bench_lines(text)["exec"][0] - start


def theirs(text):
    found = bench_lines(text)
    return found["exec"][0] - found["began"][0]


def chains(work, realm, boot, cold, warm):
    """init's start to the new init's exec: cold, warm, and warm without a server, over a shell init."""
    inits = {"": (ours, STAMP), "_shell": (theirs, "init=/usr/sbin/shell-init")}
    for name, disk in (("cold", cold), ("warm", warm), ("gone", warm)):
        if name == "gone":
            realm.hold()
        seconds = {kind: [] for kind in inits}
        for _ in range(RUNS):
            for kind, (measure, append) in inits.items():
                seconds[kind].append(measure(run(work, realm, boot, [disk], append)[0][0]))
        for kind, values in seconds.items():
            figure(f"start_{name}{kind}", values, "s")
        figure(f"start_{name}_over_shell",
               [a / b for a, b in zip(seconds[""], seconds["_shell"], strict=True)], "ratio")
    realm.release()


def traffic(work, realm, boot, cold, warm):
    """What goes over the wires in a boot, of 1, 2 and 4 clients at once; a packet is at most one RPC."""
    for name, disk, many in (("cold", cold, (1, 2, 4)), ("warm", warm, (1, 2, 4))):
        for count in many:
            clients = run(work, realm, boot, [disk] * count, STAMP)
            figure(f"wire_{name}_{count}_kib", [sum(size for _, size, _ in clients) / 1024], "KiB")
            figure(f"wire_{name}_{count}_packets", [sum(packets for _, _, packets in clients)], "1")


def userland(work, realm):
    """systemd's start until all units are: from a warm cache, over the same tree on a local ext4 disk."""
    secrets = populate_debian(realm, BUILD / "sample-systemd/source", work / "debian")
    boot = build_disk(work / "debian-disk", realm, f"--add={secrets}:/var/lib/coda/secrets", cache="400MB")
    local = own_copy(work / "debian/source.img", work / "local.img")
    (work / "fstab").write_text("/dev/vda / ext4 defaults 0 0\n")
    put(local, work / "fstab", "/etc/fstab", 0o100644)

    def seconds(machine):
        with machine.start():
            machine.wait(900)
        began, ended = machine.proof()["userland"][0].split()
        return (int(ended) - int(began)) / 1e6

    def coda(disk=None):
        client = Client(work / "userland", realm, boot, disk=disk,
                        append="coda.mount-root.secrets=/var/lib/coda/secrets")
        return seconds(client), client.disk

    cold, kept = coda()
    figure("userland_cold", [cold], "s")
    pairs = []
    for run in range(RUNS):
        plain = Machine(work / f"local{run}", disk=local, boot=boot, root=work / "userland/empty",
                        append="init=/lib/systemd/systemd")
        pairs.append((coda(kept)[0], seconds(plain)))
    figure("userland_warm", [pair[0] for pair in pairs], "s")
    figure("userland_ext4", [pair[1] for pair in pairs], "s")
    figure("userland_warm_over_ext4", [a / b for a, b in pairs], "ratio")


def main():
    work = BUILD / "bench-coda"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with Realm(work / "realm") as realm:
        boot = build_disk(work / "disk", realm)
        populate(realm, boot, work / "populate", {"usr/local/sbin/stamp": GUEST / "stamp"})
        cold = boot / "disk.img"
        put(cold, GUEST / "shell-init-coda", "/usr/sbin/shell-init")
        put(cold, GUEST / "udhcpc-script", "/usr/sbin/udhcpc-script")
        warmed = warm_disk(realm, boot, work / "warm")
        for measure in (chains, traffic):
            measure(work, realm, boot, cold, warmed)
            (BUILD / "bench-coda.json").write_text(json.dumps(figures, indent=1) + "\n")
    with Realm(work / "realm-debian") as realm:
        userland(work, realm)
    (BUILD / "bench-coda.json").write_text(json.dumps(figures, indent=1) + "\n")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
