"""An installed venus on the boot disk: its programs, its configuration, the places it writes to."""

import os
import re

from codaboot import cli, say
from realvenus import conf

from bootdisk.disk import Entry

# Found beside venus. Its helper codatunneld is venus itself, forked, and no file.
TOOLS = ("cfs", "clog", "cunlog", "ctokens", "hoard", "vutil", "codacon")
HOME = "/var/lib/coda"  # of all that outlives a boot: cache, RVM, saved modification logs
SMALLEST = 2 << 20
HOARDER = 65533  # Debian Policy 9.2.2 reserves it, so nobody else is venus's primary user


# --- deciding: no input, no output ------------------------------------

def cache_bytes(text):
    """The number of bytes in a size such as 1GB or 209715200. Raises UsageError."""
    size = int(text) if text.isascii() and text.isdigit() else conf.size(text)
    if not size or size < SMALLEST:
        raise cli.UsageError(f"cannot use --cache-size='{text}': not a size of 2MB or more")
    return size


def is_name(text):
    """Whether `text` can be the name of a realm or a server."""
    return bool(re.fullmatch(r"\w[\w.-]*", text, re.A))


def parse_servers(specs):
    """NAME=ADDRESS words as [(name, address)]. Raises UsageError."""
    pairs = [spec.partition("=")[::2] for spec in specs]
    for name, address in pairs:
        if not is_name(name) or not re.fullmatch(r"[0-9a-fA-F.:]+", address):
            raise cli.UsageError(f"cannot use --server='{name}={address}': not NAME=ADDRESS")
    return pairs


def texts(realm, servers, cache, timeout, retries, more):
    """The text of each file of the configuration, by its path."""
    settings = {
            "realm": realm,
            # Venus looks there by itself; the tools look in the prefix they were built for.
            "realmtab": "/etc/coda/realms",
            "cachesize": f"{cache >> 10}KB", "RPC2_timeout": timeout, "RPC2_retries": retries,
            # A server that is back is noticed at a probe, and venus's own 150 s are long at a boot.
            "serverprobe": 10,
            "primaryuser": HOARDER,
            "cachedir": f"{HOME}/cache", "checkpointdir": f"{HOME}/spool",
            "rvm_log": f"{HOME}/LOG", "rvm_data": f"{HOME}/DATA", "mapprivate": 1,
            "logfile": "/var/log/coda/venus.log", "errorlog": "/var/log/coda/venus.err",
            # /run is carried into the new root: codacon and vutil find venus there.
            "marinersocket": "/run/coda-client.mariner", "pid_file": "/run/coda-client.pid",
            "run_control_file": "/run/coda-client.ctrl", **more}
    names = [name for name, _ in servers]
    return {
        "/etc/coda/venus.conf": "".join(f"{key}={value}\n" for key, value in settings.items()),
        "/etc/coda/realms": f"{' '.join([realm, *names])}\n" if names else "",
        "/etc/hosts": "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in servers),
        # Without this file some C libraries ask the net first, which a boot may not have.
        "/etc/nsswitch.conf": "hosts: files dns\n",
        "/coda/NOT_REALLY_CODA": "",
    }


def boot_settings(realm, cache_on):
    """What the configuration of the boot must say for this venus."""
    also = f"fsck-root.also={cache_on}:{HOME}\n" if cache_on else ""
    return ("# The cache manager on this disk, as coda-build-disk was told.\n"
            f"venus=venus\nroot=/coda/{realm}/linuxroot\n"
            "venus-start.config=/etc/coda/venus.conf\nwait-mount.cfs=cfs\n" + also + "\n")


# --- putting it on the disk -------------------------------------------

def put(disk, venus, files, work):
    """Venus with the tools beside it, and the `files`, a dict of texts, with the places venus writes to."""
    disk.file("/usr/sbin/venus", venus, "venus", 0o755)
    near = os.path.dirname(venus)
    for tool in TOOLS:
        places = [os.path.join(near, way, tool) for way in ("", "../bin", "../sbin")]
        found = next((path for path in places if os.access(path, os.X_OK)), None)
        if found:
            disk.file(f"/usr/sbin/{tool}", os.path.realpath(found), "venus", 0o755)
        else:
            say.line(f"no '{tool}' beside '{venus}'; the disk is without it")
    for path, text in files.items():
        disk.text(path, text, "venus", work)
    for path, mode in ((f"{HOME}/cache", 0o700), (f"{HOME}/spool", 0o755), ("/var/log/coda", 0o700)):
        disk.put(path, Entry("dir", "", mode, "venus"))
