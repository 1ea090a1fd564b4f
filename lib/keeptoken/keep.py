"""The keeper of one token: renews it in good time, and whenever venus has lost it."""

import os
import signal
import time

import keeper
from codaboot import cli, say, wait
from keeper.events import Alarm, Appearance
from realvenus import token
from realvenus.mariner import Mariner

HOUR = 3600
LIFE = 25 * HOUR  # of a token, as Coda's servers give them
PATIENCE = 60  # seconds for one login; a server that is not there costs clog 9 of them


def renew_now(end, now):
    """Whether a token that ends at `end` (None: there is none) should be renewed.

    Half of its life is left for a server that is away. A clock that is wrong by days cannot
    tell: then the token is taken for a new one, and renewed too often rather than too late.
    """
    return end is None or end - now < LIFE / 2


class Keeper:
    """Holds a token of NAME (USER@REALM) in venus for the local `uid`."""

    def __init__(self, args, uid, read_secret):
        self.name, self.uid, self.read_secret = args["NAME"], uid, read_secret
        self.realm = self.name.partition("@")[2]
        self.timeout, self.background = cli.number(args, "--timeout"), args["--wait"] == "no"
        self.pid, self.log = (keeper.Place(args[option].replace("%u", str(uid)))
                              for option in ("--pid-file", "--log"))
        self.place, self.mariner = keeper.Place(args["--mariner"]), None
        self.alarm, self.delay, self.said, self.told = Alarm(), 0, "", ""

    def run(self, question, report):
        """Get the token, unless --wait=no, report, and stay. Raises Failure."""
        lock = keeper.lock(self.pid)
        if lock is None:
            raise cli.Failure(f"cannot keep the token: '{self.pid.path}' is locked by another keeper")
        if not self.background:
            self.login(wait.Deadline(self.timeout))
        # Before the connection, so that no venus that starts in between is missed.
        appearance = Appearance(self.place.folder)
        keeper.stay("@coda-keep-token", self.log, lock)
        os.pwrite(lock, f"{question}\n".encode(), os.fstat(lock).st_size)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        report(cli.OK)
        if self.said:
            self.tell(self.said)
        self.connect()
        while True:
            self.turn(appearance)

    def turn(self, appearance):
        """Wait for what happens next, and act on it."""
        awaited = self.mariner or appearance
        events = wait.ready([awaited.fileno(), self.alarm.fileno()], wait.Deadline(None))
        if awaited.fileno() in events:
            if awaited is appearance:
                if self.place.name in appearance.names():
                    self.delay = 0
                    self.connect()
            elif self.mariner.lines() is None:
                self.tell("venus ended, and the token with it")
                self.mariner.close()
                self.mariner = None
                # A new one may be there already, its name made while nobody looked.
                self.connect()
        elif self.mariner:
            self.look()
        else:
            self.connect()

    def connect(self):
        """Connect to venus, if it is there, and look for the token at once."""
        try:
            self.mariner = Mariner(self.place)
        except OSError:
            # It makes the name of its socket a moment before it listens.
            return self.wait_longer()
        self.delay = 0
        self.look()

    def look(self):
        """Renew the token if it is time, and set the alarm."""
        deadline = wait.Deadline(PATIENCE)
        try:
            if renew_now(token.held(self.realm, self.uid, deadline), time.time()):
                self.login(deadline)
                self.tell(self.said)
            self.delay = 0
            self.alarm.set(HOUR)
        except cli.Failure as failure:
            self.tell(str(failure))
            self.wait_longer()

    def login(self, deadline):
        """Get a new token. Raises Failure."""
        end = token.login(self.name, self.read_secret(), self.uid, deadline)
        self.said = f"{self.name} is uid {self.uid} until {time.strftime('%F %T', time.localtime(end))}"

    def tell(self, text):
        """Say it, unless it was the last thing said."""
        if text != self.told:
            say.line(text)
        self.told = text

    def wait_longer(self):
        """Ring after 1, 2, 4 seconds, and so on up to five minutes."""
        self.delay = min(max(1, self.delay * 2), 300)
        self.alarm.set(self.delay)
