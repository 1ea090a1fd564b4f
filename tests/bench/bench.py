#!/usr/bin/env python3
"""Measurements, never a verdict: medians of interleaved runs, as ratios, in build/bench.json.

Each figure is {name, value, unit, minimum, maximum, runs}. Ratios hold between machines;
seconds do not.
"""

import json
import shutil
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
GUEST = TOP / "tests/bench/guest"
sys.path[:0] = [str(TOP / "tests"), str(TOP / "tests/boot")]

from boot.conftest import SAMPLE, put  # noqa: E402
from machine import BUILD, Machine, own_copy  # noqa: E402

RUNS = 5
figures = []


def figure(name, values, unit):
    """Note and print one figure: the median of `values`."""
    row = {"name": name, "value": round(statistics.median(values), 3), "unit": unit,
           "minimum": round(min(values), 3), "maximum": round(max(values), 3), "runs": len(values)}
    figures.append(row)
    print(f"{name:36} {row['value']:9.3f} {unit:6} ({row['minimum']:.3f} to {row['maximum']:.3f},"
          f" {row['runs']} runs)", flush=True)


def bench_lines(text):
    """The guest's lines "BENCH name number" as {name: [numbers]}."""
    found = {}
    for line in text.splitlines():
        if line.startswith("BENCH "):
            _, name, value = line.split()
            found.setdefault(name, []).append(float(value))
    return found


def boot(work, disk, root, append, timeout=600):
    machine = Machine(work, disk=disk, root=root, append=append)
    with machine.start():
        machine.expect("^BENCH end 0", timeout)
    return machine.text


def chain(work, disk, root):
    """1. init's start to the new init's exec: our chain over a shell init with the same steps."""
    ours, theirs, steps = [], [], {}
    for run in range(RUNS):
        text = boot(work / f"ours{run}", disk, root, f"{SAMPLE} coda.init=/usr/local/sbin/stamp")
        record = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("RECORD ")]
        ours.append(bench_lines(text)["exec"][0] - record[0]["start"])
        for step in record:
            end = step["end"] or bench_lines(text)["exec"][0]
            key = step["name"] + ("-check" if "--dry-run" in step["argv"] else "")
            steps.setdefault(key, []).append(end - step["start"])
        found = bench_lines(boot(work / f"theirs{run}", disk, root, "init=/usr/sbin/shell-init"))
        theirs.append(found["exec"][0] - found["began"][0])
    figure("chain", ours, "s")
    figure("chain_shell", theirs, "s")
    figure("chain_over_shell", [a / b for a, b in zip(ours, theirs, strict=True)], "ratio")
    for name, seconds in steps.items():
        figure(f"step_{name}", seconds, "s")


def load(work, disk, root):
    """3. The same work on /coda and on the ext4 file system behind it."""
    found = bench_lines(boot(work / "load", disk, root, f"{SAMPLE} coda.init=/usr/local/sbin/load", 1800))
    for name in found:
        if name.endswith("_coda"):
            pairs = zip(found[name], found[name.replace("_coda", "_ext4")], strict=True)
            figure(f"coda_over_ext4_{name[:-5]}", [a / b for a, b in pairs], "ratio")


def imports():
    """2. Each command's start (--help) over the bare interpreter's, and what stays in memory."""
    from conftest import COMMANDS, environment

    def seconds(*argv):
        began = time.perf_counter()
        subprocess.run([sys.executable, *argv], stdout=subprocess.DEVNULL, check=True, env=environment())
        return time.perf_counter() - began

    for name in COMMANDS:
        pairs = [(seconds(TOP / "bin" / name, "--help"), seconds("-c", "pass")) for _ in range(RUNS)]
        figure(f"start_over_python_{name}", [a / b for a, b in pairs], "ratio")


def memory(work, disk, root):
    """2. Resident memory of what the boot leaves running."""
    kept = {}
    for run in range(RUNS):
        machine = Machine(work / f"kept{run}", disk=disk, root=root, append=SAMPLE)
        with machine.start():
            machine.wait()
        words = iter(machine.proof().get("kept", []))
        for name, size in zip(words, words, strict=True):
            kept.setdefault(name, []).append(int(size.split()[0]) / 1024)
    for name, sizes in kept.items():
        figure(f"resident_{name.strip('@')}", sizes, "MiB")


def sizes():
    """4. The boot disk, by part."""
    for line in (BUILD / "disk.sizes").read_text().splitlines():
        value, _, part = line.split(None, 2)
        name = "boot_disk_mib" if part.startswith("in all") else f"boot_disk_{part}_mib"
        figure(name, [float(value)], "MiB")


def trees(work):
    """5. The Debian sample audited, populated and cloned on a disk, over cp -a and sync of the same."""
    from conftest import environment

    sample = BUILD / "sample-systemd/source"

    def seconds(*argv, status=0):
        began = time.perf_counter()
        done = subprocess.run([str(word) for word in argv], stdout=subprocess.DEVNULL, env=environment())
        assert done.returncode == status, argv
        return time.perf_counter() - began

    audits, fills, agains, clones, copies = [], [], [], [], []
    for run in range(RUNS):
        here = work / f"trees{run}"
        here.mkdir()
        stores = [f"--secrets={here}/s1", f"--new-secrets={here}/s2"]
        audits.append(seconds(TOP / "bin/coda-audit-root", sample, status=2))
        copies.append(seconds("sh", "-c", 'cp -a "$0" "$1" && sync -f "$1"', sample, here / "copy"))
        populate = [TOP / "bin/coda-populate-root", stores[0], sample, here / "root"]
        fills.append(seconds(*populate))
        agains.append(seconds(*populate))
        clones.append(seconds(TOP / "bin/coda-clone-root", *stores, here / "root", "clone"))
        shutil.rmtree(here)
    files = [path.lstat() for path in sample.rglob("*")]
    size = sum(each.st_size for each in files if stat.S_ISREG(each.st_mode)) / 1e6
    figure("audit_s", audits, "s")
    figure("populate_objects_per_s", [len(files) / each for each in fills], "1/s")
    figure("populate_mb_per_s", [size / each for each in fills], "MB/s")
    figure("populate_over_cp", [a / b for a, b in zip(fills, copies, strict=True)], "ratio")
    figure("populate_nothing_s", agains, "s")
    figure("clone_over_cp", [a / b for a, b in zip(clones, copies, strict=True)], "ratio")


def main():
    work = BUILD / "bench"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    disk = own_copy(BUILD / "disk/disk.img", work / "disk.img")
    root = own_copy(BUILD / "sample-busybox/root.img", work / "root.img")
    for name in ("shell-init", "udhcpc-script"):
        put(disk, GUEST / name, f"/usr/sbin/{name}")
    for name in ("stamp", "load"):
        put(root, GUEST / name, f"/linuxroot/usr/local/sbin/{name}")
    sizes()
    imports()
    trees(work)
    for measure in (chain, memory, load):
        measure(work, disk, root)
        # After each part: a run that is interrupted leaves what it has.
        (BUILD / "bench.json").write_text(json.dumps(figures, indent=1) + "\n")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
