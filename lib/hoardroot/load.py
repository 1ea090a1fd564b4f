"""A profile into venus's hoard database, and a walk that fetches what is not there yet."""

import os
import re
import tempfile

from codaboot import cli, run, say, wait
from realvenus.mariner import connect

REFUSED = 3


def primary_user(text):
    """The uid of primaryuser= in the text of venus.conf, 0 without one."""
    values = re.findall(r'^\s*primaryuser\s*=\s*"?(\d+)', text, flags=re.M)
    return int(values[-1]) if values else 0


def judge(err):
    """What hoard complained of: (whether it was about rights, lines). It exits 0 all the same."""
    # After a walk it shows what is wrong on a terminal, which a boot has not got.
    lines = [line for line in err.splitlines() if line.strip() and "open(/dev/tty)" not in line]
    return any("Permission denied" in line for line in lines), lines


def hoard(user, text):
    """Give hoard the commands `text`, as `user`; what it complains of, as lines. Raises Failure."""
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="hoard.") as file:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        done = run.program(["hoard", "-f", file.name], user=user, ok=None)
    denied, lines = judge(done.err)
    if denied:
        raise cli.Failure(f"cannot hoard as uid {user}: venus allows its primary user only",
                          "primaryuser in venus.conf, at its start, and not 0", REFUSED)
    return lines or ([f"exit status {done.status}"] if done.status else [])


def add(user, lines, batch=50):
    """Give hoard its add `lines`, a part at a time; what it complains of. Raises Failure."""
    progress, complaints = say.Progress("hoard entries", len(lines)), []
    try:
        for first in range(0, len(lines), batch):
            complaints += hoard(user, "".join(lines[first:first + batch]))
            progress.update(min(first + batch, len(lines)))
    finally:
        progress.end()
    return complaints


def look(root, found):
    """Have venus fetch the attributes of what is needed for no more; hoard takes whole objects only."""
    for path in (path for path, kind in found.items() if kind == "see"):
        try:
            os.lstat(root + path)
        except OSError:
            pass  # it is not there any more, and a check says so


def load(user, lines, socket):
    """Give hoard its add `lines`, and walk. One that hoard refuses stops no other. Raises Failure."""
    complaints = add(user, lines) + walk(user, socket)
    if complaints:
        raise cli.Failure(f"cannot hoard all: {complaints[0]}",
                          f"and {len(complaints) - 1} more complaints" if complaints[1:] else None)


def walk(user, socket):
    """Walk; what hoard complains of. How far it is venus says on its mariner socket. Raises Failure."""
    from concurrent.futures import ThreadPoolExecutor

    mariner, progress, event = connect(socket), say.Progress("hoard walk, in percent", 100), os.eventfd(0)
    mariner.say("set:fetch")
    with ThreadPoolExecutor(1) as pool:
        # hoard waits for the end of the walk; we listen meanwhile.
        walking = pool.submit(hoard, user, "walk\n")
        walking.add_done_callback(lambda _: os.eventfd_write(event, 1))
        while event not in wait.ready([event, mariner.fileno()], wait.Deadline(None)):
            lines = mariner.lines()
            if lines is None:
                break
            for percent in re.findall(r"progress::hoarding (\d+)%", "\n".join(lines)):
                progress.update(int(percent))
    progress.end()
    mariner.close()
    os.close(event)
    return walking.result()
