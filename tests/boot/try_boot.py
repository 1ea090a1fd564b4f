#!/usr/bin/env python3
"""Boot the sample in a virtual machine: what `make boot` does after its set-up.

On a terminal: the console, up to the login prompt. Else, or with BATCH=1: the new root
proves itself on a marker disk and powers off; the verdict is the exit status, and what was
proved is left in build/boot.json and build/boot.svg.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/boot"))

from machine import BUILD, Gone, Machine, sample, served_by_coda  # noqa: E402


def facts(proof):
    """What was proved, in the form of build/boot.json."""
    return {
        "nonce": proof["nonce"][0],
        "root_fstype": proof["root_fstype"][0],
        "lower": proof.get("lower", []),
        "pid1": proof["pid1"][0],
        "system_state": proof["system_state"][0],
        "failed_units": proof["failed_units"][0].split(),
        "mountinfo": proof["mountinfo"],
        "steps": [json.loads(line) for line in proof.get("step", [])],
    }


def main():
    init = os.environ.get("INIT") or "systemd"
    settings = sample(init)
    settings["append"] += f" {os.environ.get('APPEND', '')}"
    with tempfile.TemporaryDirectory(dir=BUILD) as work:
        machine = Machine(work, **settings)
        if sys.stdin.isatty() and os.environ.get("BATCH") != "1":
            print("Log in as root, without a password; 'poweroff' ends it, Ctrl-A X kills it.\n")
            machine.marker_image.write_bytes(bytes(1 << 20))
            return subprocess.call([*machine.argv(proof=False), "-serial", "mon:stdio"])

        def echo(text):
            sys.stdout.write(text)
            sys.stdout.flush()

        try:
            with machine.start(echo):
                machine.wait()
            proof = machine.proof()
        except Gone as reason:
            print(f"\nmake boot: failed: {reason}", file=sys.stderr)
            return 1
    found, good = facts(proof), served_by_coda(proof)
    (BUILD / "boot.json").write_text(json.dumps(found, indent=1) + "\n")
    record = BUILD / "boot.record"
    record.write_text("".join(json.dumps(step) + "\n" for step in found["steps"]))
    print(flush=True)
    report = [sys.executable, TOP / "bin/coda-report-boot"]
    subprocess.run([*report, record], check=True)
    with open(BUILD / "boot.svg", "wb") as picture:
        subprocess.run([*report, "--svg", record], check=True, stdout=picture)
    over = f" over {', '.join(found['lower'])}" if found["lower"] else ""
    print(f"\nnonce came back; / is {found['root_fstype']}{over}; PID 1 is {found['pid1']};"
          f" {found['system_state'] or 'no systemd'};"
          f" failed units: {' '.join(found['failed_units']) or 'none'}")
    print(f"make boot: {'proved' if good else 'failed: / is not served through the Coda kernel module'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
