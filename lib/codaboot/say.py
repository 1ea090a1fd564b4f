"""What a command says to people: whole lines, on standard error, each in one write(2)."""

import os
import sys
import time


def name():
    """The word this command was started by, without its directory and '@'."""
    return os.path.basename(sys.argv[0]).lstrip("@")


def line(text):
    """Say one line. One write, so that steps running side by side do not mix."""
    try:
        os.write(2, f"{name()}: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        # Standard error is the only way to tell anybody; there is no second one.
        pass


def words(argv):
    """`argv` as a command line that can be pasted: shlex.join, which would import re."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"
    return " ".join(word if word.strip(plain) == "" != word else
                    "'" + word.replace("'", "'\"'\"'") + "'" for word in argv)


class Progress:
    """How far a long piece of work is: a bar on a terminal, else a line every few seconds.

    `total` may be None where it is not known. Says nothing in the first two seconds.
    """

    EVERY = 5.0

    def __init__(self, what, total=None):
        self.what, self.total = what, total
        self.started = time.monotonic()
        self.terminal = os.isatty(2)
        self.next = self.started + 2.0
        self.shown = False

    def update(self, done, shown=None):
        """`done` of `total` is finished; `shown` says it in better words."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (0.1 if self.terminal else self.EVERY)
        self.shown = True
        if self.total:
            share = min(1.0, done / self.total)
            left = (now - self.started) * (1 - share) / share if share else 0
            text = f"{self.what}: {shown or f'{done} of {self.total}'} ({share:.0%}), {left:.0f} s left"
        else:
            share, text = 0.0, f"{self.what}: {done}"
        if self.terminal:
            bar = "#" * round(20 * share)
            os.write(2, f"\r\033[K{name()}: [{bar:<20}] {text}".encode())
        else:
            line(text)

    def end(self):
        """Take the bar away."""
        if self.shown and self.terminal:
            os.write(2, b"\r\033[K")
