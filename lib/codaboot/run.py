"""Other programs: find them, run them, and say what went wrong in words that can be pasted.

Two doors. `program` is for the boot: a first program of a machine has no /dev/pts, no
PATH and no time to spare, and importing sh takes ten times as long as running e2fsck on
a clean disk. `tool` is sh, for the administrator's machine, where programs are composed.
"""

import os

from codaboot import cli, say

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Result:
    """How a program ended: its exit status, and what it wrote (text)."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


def find(program):
    """The path of `program`, whatever PATH says. Raises Failure (127)."""
    folders = f"{os.environ.get('PATH', '')}:{PATH}".split(":")
    for path in [program] if "/" in program else [f"{folder}/{program}" for folder in folders if folder]:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise cli.Failure(f"cannot find '{program}'", f"looked in {PATH}", code=cli.NOT_FOUND)


def environment():
    """The environment for other programs: a full PATH, and messages in plain C."""
    return {**os.environ, "PATH": os.environ.get("PATH") or PATH, "LC_ALL": "C"}


def program(argv, timeout=None, stdin=None, ok=(0,), user=None):
    """Run `argv` to its end, as `user` (a uid), and return its Result; `stdin` is text or nothing.

    Raises Failure when the exit status is not in `ok` (None: any will do), with 128+n when
    signal n killed it, and TimedOut (after SIGKILL) when `timeout` seconds were not enough.
    """
    import subprocess

    argv = [find(argv[0]), *argv[1:]]
    try:
        done = subprocess.run(
            argv, input=stdin or "", capture_output=True, text=True, errors="replace",
            timeout=timeout, env=environment(), cwd="/", user=user)
    except subprocess.TimeoutExpired:
        raise cli.TimedOut(f"cannot finish '{say.words(argv)}': no end after {timeout:.0f} s") from None
    return judge(argv, done.returncode, done.stdout, done.stderr, ok)


def judge(argv, status, out="", err="", ok=(0,)):
    """The Result of a program that ended with `status` (-n: by signal n). Raises Failure."""
    if status < 0:
        from signal import Signals
        reason, code = f"killed by {Signals(-status).name}", 128 - status
    elif ok is None or status in ok:
        return Result(status, out, err)
    else:
        last = (err.strip() or out.strip()).splitlines()[-1:]
        reason, code = ": ".join([f"exit status {status}", *last]), cli.REFUSED
    raise cli.Failure(f"cannot run '{say.words(argv)}': {reason}", code=code)


def tool(program, **settings):
    """`program` as an sh.Command whose failures are ours. For commands that build, not boot."""
    import sh

    # sh gives children a terminal by default: programs then change their output, and
    # without /dev/pts every call fails.
    baked = sh.Command(find(program)).bake(_tty_out=False, _return_cmd=True, _env=environment(),
                                          **settings)

    def call(*args, **more):
        try:
            return baked(*map(str, args), **more)
        except sh.ErrorReturnCode as error:
            argv = [program, *map(str, args)]
            judge(argv, error.exit_code, error.stdout.decode(errors="replace"),
                  error.stderr.decode(errors="replace"))
    return call
