"""Tokens: what clog and ctokens say, in words that can be acted on.

clog exits 0 when there is no venus to take the token, and says the same of a wrong password
and of a server that is not there; ctokens knows what venus really holds.
"""

import time

from codaboot import cli, run

from realvenus.mariner import NO_VENUS

WRONG, UNREACHABLE = 3, 5
# A name no realm has: the authentication server refuses it in half a second, if it is there.
NOBODY = "coda-boot.no-such-user"


def said_by_clog(status, out, err):
    """What came of clog: "ok", "no venus", "refused", "silence" or "no server"."""
    if status == 0:
        return "no venus" if "could not contact venus" in out else "ok"
    if "RPC2_NOTAUTHENTICATED" in err:
        return "refused"
    return "silence" if "RPC2_NOBINDING" in err else "no server"


def end_of_token(status, out):
    """When the token ends (seconds since 1970), by ctokens' output for one realm.

    None when there is none, 0 when it seems to have ended already. Raises Failure without venus.
    """
    if "has expired" in out:
        return 0
    if "Not Authenticated" in out:
        return None
    before, found, after = out.partition("Expiration time: ")
    if status or not found:
        raise cli.Failure("cannot ask venus for the token: it does not answer", code=NO_VENUS)
    return int(time.mktime(time.strptime(after.splitlines()[0].strip())))


def held(realm, uid, deadline):
    """When the token that venus holds for `uid` ends, as end_of_token. Raises Failure, TimedOut."""
    done = run.program(["ctokens", f"@{realm}"], timeout=deadline.left(), ok=None, user=uid)
    return end_of_token(done.status, done.out)


def _clog(name, secret, uid, deadline):
    done = run.program(["clog", "-pipe", name], deadline.left(), f"{secret}\n", ok=None, user=uid)
    return said_by_clog(done.status, done.out, done.err), (done.err.strip().splitlines() or [""])[0]


def login(name, secret, uid, deadline):
    """Give venus a token of USER@REALM for the local `uid`; when it ends. Raises Failure, TimedOut."""
    realm = name.partition("@")[2]
    answer, reason = _clog(name, secret, uid, deadline)
    if answer == "silence":
        # An authentication server keeps silent to a wrong password.
        alive, _ = _clog(f"{NOBODY}@{realm}", "", uid, deadline)
        answer = "wrong" if alive == "refused" else "no server"
    if answer == "refused":
        raise cli.Failure(f"cannot get a token for '{name}': the realm knows no such user", code=WRONG)
    if answer == "wrong":
        raise cli.Failure(f"cannot get a token for '{name}': the password is wrong", code=WRONG)
    if answer == "no server":
        raise cli.Failure(f"cannot get a token for '{name}': the realm's authentication server does not "
                          "answer", reason, UNREACHABLE)
    if answer == "no venus":
        raise cli.Failure(f"cannot give venus the token of '{name}': it does not answer", code=NO_VENUS)
    end = held(realm, uid, deadline)
    if end is None:
        raise cli.Failure(f"cannot get a token for '{name}': venus did not keep it", code=NO_VENUS)
    return end
