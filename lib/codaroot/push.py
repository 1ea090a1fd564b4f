"""What the client's venus still has to send to the servers: sent, and waited for, by cfs(1)."""

import os
import re
import time

from codaboot import cli, run, wait
from realvenus import tools
from realvenus.cache import parse_fid

AGAIN = 2.0  # seconds between two looks
PATIENCE = 60.0  # cfs itself takes half a minute to find out that a server is gone


def pending(text, complaint=""):
    """The number of records that `cfs listvol` tells of. Raises Failure when it cannot go on.

    It has a line about records only when there are some, so silence must not be taken for
    none: it ends with 0 even when there is no venus.
    """
    if "Status of volume" not in text:
        last = (complaint.strip() or "cfs says nothing").splitlines()[-1]
        raise cli.Failure(f"cannot send the changes: {last}",
                          "is venus running, and the server reached? try 'cfs checkservers'")
    if "pending conflicts" in text:
        raise cli.Failure("cannot send the changes: there are conflicts in the volume",
                          "see 'cfs listvol' and repair(1)")
    if tools.connection(text) == tools.DISCONNECTED:
        raise cli.Failure("cannot send the changes: the servers cannot be reached",
                          "venus keeps them; try 'cfs checkservers', and run it again")
    match = re.search(r"(\d+) CML entries", text)
    return int(match[1]) if match else 0


def need_token(cfs, path):
    """Raises Failure when venus has no token of ours for the realm of `path`: nothing is sent without.

    It must not be found out by writing: where a token was used before, venus remembers what its
    user may do and takes changes even when the token has run out, for good.
    """
    from realvenus import token

    while not os.path.isdir(path):
        path = os.path.dirname(path)
    fid = parse_fid(run.program([cfs, "getfid", path], timeout=PATIENCE, ok=None).out)
    # One that has run out by our clock alone may be good: the server will say.
    if fid and token.held(fid[1], os.geteuid(), wait.Deadline(PATIENCE)) is None:
        raise cli.Failure(f"cannot write in '{path}': venus has no token for '{fid[1]}'",
                          "get one with clog(1) or coda-keep-token(8); what waits is sent then")


def push(cfs, directory, deadline):
    """Send all changes in the volume of `directory`. Raises Failure, or TimedOut when some remain."""
    before = None
    while True:
        # It ends with 0 even when records remain.
        run.program([cfs, "forcereintegrate", directory], timeout=max(PATIENCE, deadline.left()))
        told = run.program([cfs, "listvol", directory], timeout=PATIENCE)
        left = pending(told.out, told.err)
        if not left:
            return
        if left == before:
            need_token(cfs, directory)
        before = left
        if deadline.left() < AGAIN:
            raise cli.TimedOut(f"cannot send all changes to '{directory}': {left} records remain",
                               "is the token still good? run it again")
        time.sleep(AGAIN)


def forget(cfs, top, files):
    """Have venus forget the `files`, or without any all of the volume of `top`: it then asks the server.

    Only after push(), as what the server has not got would be lost. What is in use stays.
    """
    words = ["flushobject", *files] if files else ["flushvolume", top]
    run.program([cfs, *words], timeout=PATIENCE, stdin="y\n")  # it asks whether we are sure
