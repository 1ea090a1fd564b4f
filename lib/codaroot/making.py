"""A root made from a source: the tree filled, the secrets put away, manifests and stamp written."""

import contextlib
import os
from itertools import chain

from codaboot import cli, run, say

from codaroot.below import is_coda
from codaroot.fill import Filling, private, quoted, shared
from codaroot.limits import NEW
from codaroot.manifest import Stamp
from codaroot.push import forget, need_token, push
from codaroot.root import digest, known, public_text, secret_text, write

BATCH = 200  # operations; venus gets slow with thousands of unsent records, each costs it more than the last
UNFINISHED = "none"  # in the stamp of a tree whose first run has not ended


class Making:
    """What is to be done to the Root `root` and the Secrets `vault` (or None), and the doing.

    `public` and `hidden` are Entries with their tags, `sources` the two trees their contents
    come from, `stamp` is the one that is there or None, and `identity` the tree's.
    """

    def __init__(self, root, vault, sources, judgement, stamp, identity, delete):
        self.root, self.vault, self.stamp, self.identity = root, vault, stamp, identity
        self.public, self.hidden = judgement.public, judgement.hidden
        self.before = root.text(stamp)
        self.tree = Filling(root.path, sources[0], shared(self.public), judgement.twins,
                            known(self.public, self.before, root.manifest))
        self.fillings = [self.tree]
        if vault:
            self.vault_before = vault.text(stamp)
            self.fillings.append(Filling(
                vault.tree, sources[1], private(self.hidden, self.public), {},
                known(self.hidden, self.vault_before, vault.manifest)))
        for filling in self.fillings:
            filling.decide(delete)

    @property
    def done(self):
        """Whether everything is there already."""
        return all(filling.idle and not filling.unread for filling in self.fillings) and (
            self.before == self._public() and self.stamp.manifest != UNFINISHED
            and (self.vault_before == self._secret() if self.vault else self.stamp.secrets == "none"))

    def _public(self):
        return public_text(self.identity, self.public, self.tree.all_digests())

    def _secret(self):
        return secret_text(self.identity, self.hidden, self.public, self.fillings[1].all_digests())

    def operations(self, every, settle):
        """(text, function) of each operation, in order, for cli.perform.

        `settle` is called with a Filling and a list of further files, when they are written; or None,
        when only what there is by now shall be sent.
        """
        root, vault = self.root, self.vault
        yield f"mkdir -p {quoted(root.path)}", lambda: self._begin(root.path)
        if self.stamp is None:
            yield (f"echo unfinished >{quoted(root.path)}/.coda-root",
                   lambda: root.mark(Stamp(self.identity, UNFINISHED, UNFINISHED)))
        for number, operation in enumerate(self._fill(self.tree), 1):
            yield operation
            if number % BATCH == 0:
                yield f"# send what is new in {quoted(root.path)}", lambda: settle(self.tree, None)
        # Sent before it is read back: then it is the server's that is read.
        yield f"# send what is new in {quoted(root.path)}", lambda: settle(self.tree, [])
        yield self._verify(self.tree, every)
        if vault:
            yield f"mkdir -p -m 0700 {quoted(vault.tree)}", lambda: prepare(vault)
            yield from self._fill(self.fillings[1])
            yield self._verify(self.fillings[1], every)
            yield (f"# write {quoted(vault.manifest)}",
                   lambda: write(vault.manifest, self._secret(), 0o600))
        yield f"# write {quoted(root.manifest)}", lambda: write(root.manifest, self._public(), 0o644)
        yield f"# stamp {quoted(root.path)}", self._stamp
        yield (f"# send what is new in {quoted(root.path)}",
               lambda: settle(self.tree, [root.manifest, root.stamp_file]))

    def verify(self):
        """Read back all that is there. Raises Failure."""
        for filling in self.fillings:
            filling.open()
            filling.verify(True)

    @staticmethod
    def _fill(filling):
        yield f"cd {quoted(filling.top)}", filling.open
        yield from filling.operations()

    @staticmethod
    def _verify(filling, every):
        return f"# verify {quoted(filling.top)}", lambda: filling.verify(every)

    @staticmethod
    def _begin(path):
        """Make the directory `path`, and a file in it to see whether that is allowed.

        Before anything else: a chmod by a root without a token is taken by venus and can never
        be sent, which blocks the volume; to make a file is refused at once.
        """
        probe = f"{path}/{NEW}"
        try:
            os.makedirs(path, exist_ok=True)
            try:
                # One may be there, from a run that was killed.
                os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(probe)
        except PermissionError as error:
            raise cli.Failure(
                f"cannot write in '{path}': {error.strerror}",
                "is there a token? see ctokens(1), clog(1) and, for the access list, cfs la") from None

    def _stamp(self):
        self.root.mark(Stamp(self.identity, digest(self._public()),
                             digest(self._secret()) if self.vault else "none"))
        self.tree.finish_top()


def prepare(vault):
    """Make the directories of the Secrets `vault`, for root alone."""
    os.makedirs(os.path.dirname(vault.path), exist_ok=True)
    for path in (vault.path, vault.tree):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def find_cfs(cfs):
    """The path of `cfs`; None where the one we look for by ourselves is not there. Raises Failure."""
    if cfs != "cfs" or any(os.access(f"{each}/cfs", os.X_OK) for each in run.PATH.split(":")):
        return run.find(cfs)
    return None


def ready(cfs, path):
    """(text, function) of what comes before the operations: is there a token for `path`?"""
    found = find_cfs(cfs)
    return (f"# see whether there is a token for {quoted(path)}",
            lambda: found and is_coda(path) and need_token(found, path))


def steps(making, every, cfs, deadline):
    """The operations of `making`, by `cfs`, after a look whether there is a token. Raises Failure."""
    return chain([ready(cfs, making.root.path)], making.operations(every, settler(cfs, deadline)))


def settler(cfs, deadline):
    """The `settle` of Making.operations: sends changes by `cfs`, and sees that all is root's."""
    found = find_cfs(cfs)

    def settle(filling, files):
        coda = is_coda(filling.top)
        if coda and not found and files:
            say.line("there is no cfs: whether all changes have reached a server is not known")

        def send(files):
            for directory in {filling.top, *map(os.path.dirname, files)} if coda and found else ():
                push(found, directory, deadline)

        def strangers():
            send(files)
            if coda and found:
                # The server made the token's user their owner, and venus goes on believing it is root.
                forget(found, filling.top, files)
            return filling.strangers() + [path for path in files if os.lstat(path).st_uid]

        if files is None:
            send([])
            return
        changed = False
        for number, path in enumerate(strangers(), 1):
            if path in files:
                os.chown(path, 0, -1, follow_symlinks=False)
            else:
                filling.take(path)
            if number % BATCH == 0:
                send([])
            changed = True
        left = strangers() if changed else []
        if left:
            raise cli.Failure(
                f"cannot make root the owner of {len(left)} objects, such as '{left[0]}'",
                "a user with the number they show could write to them: get a token with the right 'a'"
                " there (cfs la), and run it again")
    return settle
