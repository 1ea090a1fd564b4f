"""The classes of what Coda cannot or should not hold: their words, what they mean, what to do."""

from collections import namedtuple

Class = namedtuple("Class", "title ignored remedy decision", defaults=(False,))
Class.__doc__ = """What the objects of a class have in common, what happens when nothing is done about
them, what is done, and whether it takes a decision that only a person can make."""

KEPT = "kept in the manifest, put back by coda-mount-root"
OVERLAY = "boot through coda-mount-root: each client then writes to an overlay of its own"

CLASSES = {
    "secret": Class(
        "not for everybody to read",
        "Coda knows no file modes but the owner's: everybody reads it, also from other machines",
        "goes to the directory of --secrets, and from there onto the clients' own disks"),
    "setuid": Class("set-user-ID programs", "su, mount and the like work for root only", KEPT),
    "setgid": Class("set-group-ID programs and directories", "the group is not given", KEPT),
    "sticky": Class("sticky directories", "everybody may remove what others have in /tmp", KEPT),
    "capability": Class("programs with capabilities", "ping and the like work for root only", KEPT),
    "acl": Class("access control lists", "they are lost", KEPT),
    "xattr": Class("other extended attributes", "they are lost", KEPT),
    "owner": Class("owners other than root", "services cannot write to what is theirs", KEPT),
    "group": Class("groups other than root's", "members of the group lose their rights", KEPT),
    "mode": Class(
        "modes that set the group or others apart",
        "the group is always nobody's, and only the owner's three bits count", KEPT),
    "special": Class("FIFOs, sockets and devices", "they cannot be made: Input/output error", KEPT),
    "hardlink": Class(
        "hard links across directories, or of symbolic links",
        "the first are refused, the second crash the server",
        f"copied, or linked anew; {KEPT}"),
    "target": Class(
        "symbolic links Coda cannot read back",
        "a target past 1022 bytes can never be read again; @sys and @cpu in it are replaced", KEPT),
    "name": Class(
        "names with @sys or @cpu", "they cannot be made: Coda replaces them",
        "goes to the directory of --secrets, with all below it"),
    "written": Class(
        "written all the time: logs, databases, spools",
        "clients overwrite each other: locks hold on one client only", OVERLAY),
    "service": Class(
        "services that chmod, or make sockets or FIFOs, outside /run",
        "one chmod by a root without a token can block the volume; sockets are refused", OVERLAY),
    "closed": Class(
        "a top that is closed to others", "nobody but root could use the system",
        "chmod it to 0755", True),
    "directory": Class(
        "directories past the limit of 256 KiB of names",
        "the client's venus dies, and /coda with it", "spread the names over more directories", True),
    "long": Class("names past 254 bytes", "they cannot be made, or are listed cut off", "shorten them", True),
    "large": Class(
        "files of 2 GiB and more", "the kernel's Coda ends at 2 GiB",
        "keep it on another file system, mounted there", True),
    "reserved": Class(
        "names that coda-populate-root needs for itself", "it would be overwritten", "rename it", True),
    "key": Class(
        "private keys and keytabs that everybody may read",
        "everybody reads it, also from other machines",
        "chmod it to 0600, or say --publish-keys if it is no secret", True),
    # Of what is in the target already, and of the command line: from coda-populate-root alone.
    "homeless": Class(
        "secrets without a place to go", "they would be lost",
        "name a directory outside of Coda with --secrets=DIR", True),
    "leaked": Class(
        "objects in the target that not everybody may read", "everybody reads it",
        "say --delete, and change what was in it: it has been read", True),
    "blocked": Class(
        "directories in the way of something else", "it cannot be made", "say --delete", True),
}

# What is known to chmod, or to make sockets or FIFOs, outside of /run, by the name of its unit or
# init script. From the packages of Debian 12.
SERVICES = {
    "apache2": "writes and reopens its logs in /var/log/apache2",
    "cron": "chmods the crontabs of users in /var/spool/cron",
    "cups": "chmods its configuration in /etc/cups and its spool",
    "dovecot": "makes sockets in postfix's spool",
    "exim4": "chmods its spool and its database of hints",
    "mariadb": "locks and chmods its databases",
    "mysql": "locks and chmods its databases",
    "NetworkManager": "makes /var/lib/NetworkManager/secret_key with mode 0600",
    "nscd": "maps its caches in /var/cache/nscd shared and writable",
    "postfix": "makes sockets and FIFOs in /var/spool/postfix",
    "postgresql": "refuses a data directory that is not its own with mode 0700",
    "rsyslog": "appends to the logs in /var/log and sets their modes",
    "saslauthd": "makes a socket below /var/spool/postfix where postfix uses it",
    "slapd": "maps its database in /var/lib/ldap shared and writable",
    "smbd": "makes sockets in /var/lib/samba/private",
    "ssh": "needs host keys of its own with mode 0600 in /etc/ssh",
    "systemd-journald": "maps its journals in /var/log/journal shared and writable",
    "systemd-random-seed": "writes /var/lib/systemd/random-seed with mode 0600",
    "systemd-tmpfiles-setup": "makes and chmods what tmpfiles.d says, at each boot",
    "systemd-timesyncd": "sets the time of a file in /var/lib/systemd/timesync",
}
# Where the unit or the init script of a service is.
UNITS = ("usr/lib/systemd/system/{}.service", "lib/systemd/system/{}.service",
         "etc/systemd/system/{}.service", "etc/init.d/{}")


def by_class(findings):
    """{word: its Findings} in the order of CLASSES."""
    found = {word: [] for word in CLASSES}
    for finding in findings:
        found[finding.word].append(finding)
    return {word: those for word, those in found.items() if those}


def report(findings, most):
    """`findings` for people to read, as lines: by class, with no more than `most` examples each."""
    lines = []
    for word, found in by_class(findings).items():
        meaning = CLASSES[word]
        lines.append(f"{word}: {len(found)} {meaning.title}" + meaning.decision * ", needs a decision")
        for each in found[:most]:
            path = each.path.encode("ascii", "backslashreplace").decode() or "."
            lines.append(f"    {path}" + (f"  ({each.note})" if each.note else ""))
        if found[most:]:
            lines.append(f"    and {len(found) - most} more")
        lines += [f"  if ignored: {meaning.ignored}", f"  remedy: {meaning.remedy}"]
    return lines
