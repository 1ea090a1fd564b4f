"""A daemon that is not ours: started as a daemon must be, found again, marked, and ended whole."""

import _signal as signal
import errno
import os

from codaboot import cli, say, wait


def command(path, head, name, find):
    """The (file to execute, argv) that run the program `path`, marked for systemd by '@'.

    `head` is the program's first bytes, `name` what it is called, `find` finds a program in
    PATH. The kernel replaces argv[0] of a script, so its interpreter is called here; the
    interpreter's name stays whole after the last '/', as busybox goes by that.
    """
    if not head.startswith(b"#!"):
        return path, [f"@{name}"]
    words = os.fsdecode(head[2:].split(b"\n")[0]).split(None, 1)
    if not words:
        return path, [f"@{name}"]
    if os.path.basename(words[0]) == "env" and len(words) == 2 and words[1][0] not in "-":
        words = [find(words[1].strip())]
    return words[0], [f"@{words[0]}", *(word.strip() for word in words[1:]), path]


def spawn(file, argv, env, output):
    """Start a program as venus must be started: the pid of its first process.

    Its own session, cwd /, standard input empty, `output` (a descriptor) for the rest, no
    other descriptor: one left open would be open as long as the daemon lives. With argv[0]
    beginning with '@' it is also kept from the kernel's out-of-memory killer.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir("/")
        if argv[0].startswith("@"):
            try:
                with open("/proc/self/oom_score_adj", "w") as file_:
                    file_.write("-1000")
            except OSError:
                pass
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:
                pass
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve(file, argv, env)
    except OSError as error:
        os.write(2, f"cannot run '{file}': {error.strerror}\n".encode())
        os._exit(cli.NOT_FOUND if error.errno == errno.ENOENT else cli.CANNOT_EXEC)
    finally:
        os._exit(cli.CANNOT_EXEC)


def family(proc, mark):
    """The pids of all living processes that carry `mark` in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            with open(f"{proc}/{pid}/environ", "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def mark_again(proc, pid):
    """Let the command line of `pid` begin with '@' again, where it has written over it.

    CMU's venus forks a helper that puts its own name there, and systemd then waits for it, as a
    child of venus that nobody reaps, for minutes. A command line is memory of the process.
    """
    try:
        with open(f"{proc}/{pid}/stat", errors="replace") as file:
            start = int(file.read().rpartition(")")[2].split()[45])  # arg_start, proc_pid_stat(5)
        with open(f"{proc}/{pid}/mem", "r+b", buffering=0) as memory:
            if start and os.pread(memory.fileno(), 1, start) != b"@":
                os.pwrite(memory.fileno(), b"@", start)
    except OSError as error:
        say.line(f"cannot mark process {pid} by '@': {error.strerror}")


def stop(proc, pid, mark):
    """End all that was started, whatever sessions it made."""
    def kill(how, whom):
        try:
            how(whom, signal.SIGKILL)
        except ProcessLookupError:
            pass

    kill(os.killpg, pid)
    for member in family(proc, mark):
        kill(os.kill, member)
    try:
        wait.child(pid, wait.Deadline(2), "the end of venus")
    except (ProcessLookupError, ChildProcessError, cli.TimedOut):
        pass
