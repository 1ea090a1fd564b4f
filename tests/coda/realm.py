"""A throw-away realm with one real Coda server, in namespaces of its own on this machine.

What is installed below CODA_PREFIX is run from there: vice-setup, auth2, updatesrv, codasrv.
Everything it writes is in `work`; ending its first process ends all of it.
"""

import os
import subprocess
import time
from pathlib import Path

from machine import Gone

PREFIX = Path(os.environ.get("CODA_PREFIX") or "/nonexistent")
ENVIRONMENT = {**os.environ, "PATH": f"{PREFIX}/sbin:{PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LD_LIBRARY_PATH": f"{PREFIX}/lib"}
ADMIN, ADMIN_PASSWORD = "codaadmin", "changeme"  # uid 500 of the realm, in System:Administrators
USER, USER_PASSWORD = "user", "userpw"  # uid 1000


def installed(name):
    """The path of the installed program `name`, or None."""
    places = [PREFIX / place / name for place in ("sbin", "bin")]
    return next((path for path in places if os.access(path, os.X_OK)), None)


class Realm:
    """The server of `name`. Use as a context, or call start() and end()."""

    def __init__(self, work, name="coda.test", address="10.99.0.1"):
        self.work, self.name, self.address = Path(work), name, address
        self.host = f"server.{name}"
        self.root = f"/coda/{name}/linuxroot"
        self.taps = 0
        self.process = None

    def start(self, timeout=90):
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "ready").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", str(Path(__file__).with_name("serve")), str(self.work), self.host, self.address],
            stdin=subprocess.DEVNULL, stdout=open(self.work / "serve.log", "w"), stderr=subprocess.STDOUT,
            env=ENVIRONMENT, start_new_session=True)
        end = time.monotonic() + timeout
        while not (self.work / "ready").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                said = {p.name: p.read_text(errors="replace")[-800:] for p in (self.work / "log").glob("*")}
                self.end()
                raise Gone(f"the server does not come up: {(self.work / 'serve.log').read_text()} {said}")
            time.sleep(0.1)
        return self

    def end(self):
        """End the server with all it runs, as a power cut would."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.end()

    @property
    def pid(self):
        """The first process of the server's namespaces, as seen from here."""
        unshare = self.process.pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])

    def run(self, *argv, namespaces=("-m", "-u", "-n", "-p"), **settings):
        """Run a program on the server's machine: volutil, pdbtool, ip, tcpdump."""
        settings = {"check": True, "capture_output": True, "text": True, "timeout": 60, **settings}
        return subprocess.run(["nsenter", "-t", str(self.pid), *namespaces, *map(str, argv)],
                              env={**ENVIRONMENT, "CODACONFPATH": "/mnt/etc"}, **settings)

    def volume(self, name):
        """Make the volume `name`; it is mounted nowhere yet."""
        self.run("createvol_rep", name, f"{self.host}/mnt/vicepa")  # as the server's namespace has it

    # --- faults ---------------------------------------------------------------------------------

    def hold(self):
        """codasrv dies and stays dead. Its machine is there: nothing answers at its port."""
        (self.work / "hold").touch()
        self.run("pkill", "-9", "-x", "codasrv", check=False)

    def release(self, timeout=30):
        """codasrv is started again; returns when it serves."""
        (self.work / "hold").unlink(missing_ok=True)
        end = time.monotonic() + timeout
        while self.run("timeout", "1", "rpc2ping", self.host, check=False).returncode:
            if time.monotonic() > end:
                raise Gone(f"codasrv does not come back: {(self.work / 'log/codasrv').read_text()[-2000:]}")
            time.sleep(0.1)

    def crashes(self):
        """A line for each time codasrv ended by itself."""
        log = self.work / "log/crashes"
        return log.read_text().splitlines() if log.exists() else []

    # --- wires ----------------------------------------------------------------------------------

    def wire(self):
        """A wire to the server for one machine: (network for Machine's nets, name of its tap)."""
        self.taps += 1
        tap = f"tap{self.taps}"
        for words in (("tuntap", "add", tap, "mode", "tap"), ("link", "set", tap, "master", "wire", "up")):
            self.run("ip", *words)
        return f"tap,ifname={tap},script=no,downscript=no", tap

    def cut(self, tap):
        """Frames are lost; the machine's card keeps its carrier."""
        self.run("ip", "link", "set", tap, "down")

    def mend(self, tap):
        self.run("ip", "link", "set", tap, "up")

    @property
    def inside(self):
        """The words before a command that run it in the server's network."""
        return ("nsenter", "-t", str(self.pid), "-n")
