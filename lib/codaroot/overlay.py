"""The options of an overlayfs, and its line in the mount table."""

from codaboot import cli, facts

# What would make it worse that Coda changes below; nofollow is off, whatever the kernel was built with.
FEATURES = "redirect_dir=nofollow,metacopy=off,index=off"
NAME = "coda-root"  # the source of our mounts


def options(lower, home):
    """The options of mount(8) for the layers `lower`, uppermost first, with the upper one in `home`.

    Raises UsageError for a path that overlayfs would take apart.
    """
    for path in [*lower, home]:
        if any(char in path for char in ",:\\\n"):
            raise cli.UsageError(f"cannot use '{path}': overlayfs splits at commas and colons")
    return f"lowerdir={':'.join(lower)},upperdir={home}/upper,workdir={home}/work,{FEATURES}"


def places(words):
    """Of the options `words`, those that say which directories an overlay is made of."""
    return {word for word in words if word.startswith(("lowerdir=", "upperdir=", "workdir="))}


def is_there(wish, table, target):
    """True when the uppermost mount on `target` has the options `wish`. Raises UsageError on another."""
    wanted = places(wish.split(","))
    here = facts.mount_at(table, target)
    if here is not None and here.fstype == "overlay" and places(here.super_options) == wanted:
        return True
    for mounted in table:
        # Two overlays that write to one place: the kernel warns, and lets it happen.
        if mounted.fstype == "overlay" and any(word.startswith("upperdir=") and word in wanted
                                               for word in mounted.super_options):
            raise cli.UsageError(f"cannot use one upper layer twice: '{mounted.target}' has it")
    if here is None or is_leftover(here):
        return False
    raise cli.UsageError(f"cannot mount on '{target}': '{here.source}' is mounted there already",
                         f"umount {target}")


def is_leftover(mounted):
    """True when `mounted` (a Mount or None) is a tmpfs that an interrupted run of ours has left."""
    return mounted is not None and (mounted.fstype, mounted.source) == ("tmpfs", NAME)
