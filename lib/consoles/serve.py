"""Programs on terminals of their own, started again when they end."""

import fcntl
import os
import signal
import termios
import time

import keeper
from codaboot import cli, run, say, wait
from keeper.events import Alarm

PAUSE = 5  # seconds, so that what ends at once does not keep the machine busy


class Console:
    """One program (a path) on one terminal."""

    def __init__(self, terminal, program, *words):
        self.terminal = terminal
        # '@' so that systemd spares it; the name stays whole after the '/', by which busybox goes.
        self.program, self.argv = program, [f"@{program}", *words]
        self.pid = self.pidfd = None
        self.started = 0.0

    def open(self):
        """The terminal, open. Raises OSError when there is none."""
        # Not to wait for the carrier of a serial line, nor to make it ours before the fork.
        descriptor = os.open(self.terminal, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not os.isatty(descriptor):
            os.close(descriptor)
            raise OSError(25, "it is no terminal", self.terminal)
        os.set_blocking(descriptor, True)
        return descriptor

    def start(self):
        """Start the program. Raises OSError."""
        descriptor = self.open()
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(descriptor)
        os.close(descriptor)
        self.pidfd = os.pidfd_open(self.pid)

    def _become(self, descriptor):
        try:
            os.setsid()
            fcntl.ioctl(descriptor, termios.TIOCSCTTY, 1)
            for stream in (0, 1, 2):
                os.dup2(descriptor, stream)
            keeper.close_all(())
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.execve(self.program, self.argv, {**run.environment(), "TERM": "linux", "HOME": "/root"})
        finally:
            os._exit(cli.CANNOT_EXEC)

    def reap(self):
        """Take note that the program ended."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = self.pidfd = None

    def end(self):
        """End the program with all that runs on the terminal."""
        if self.pid:
            os.killpg(self.pid, signal.SIGHUP)


def serve(consoles, pid_file, log, report):
    """Start all, report, and start again what ends, for ever. Raises Failure and OSError."""
    pid_file, log = keeper.Place(pid_file), keeper.Place(log)
    lock = keeper.lock(pid_file)
    if lock is None:
        raise cli.Failure(f"cannot open the consoles: '{pid_file.path}' is locked by another")
    alarm = Alarm()
    keeper.stay("@coda-open-consoles", log, lock)
    report(cli.OK)
    try:
        while True:
            for console in consoles:
                if not console.pid:
                    begin(console, alarm)
            alive = {console.pidfd: console for console in consoles if console.pid}
            for descriptor in wait.ready([*alive, alarm.fileno()], wait.Deadline(None)):
                if descriptor in alive:
                    alive[descriptor].reap()
                else:
                    alarm.clear()
    finally:
        for console in consoles:
            console.end()


def begin(console, alarm):
    """Start it, or have the alarm ring when it is time to try."""
    if time.monotonic() < console.started + PAUSE:
        return alarm.set(PAUSE)
    try:
        console.start()
    except OSError as error:
        console.started = time.monotonic()
        say.line(f"cannot open '{console.terminal}': {error.strerror}")
        alarm.set(PAUSE)
