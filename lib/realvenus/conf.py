"""venus.conf, as venus reads it, and the room on disk that it leads to."""

UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}  # powers of 1024


def parse(text):
    """The settings in the text of venus.conf; a later one counts."""
    pairs = (line.partition("=") for line in text.splitlines() if line[:1] not in ("", "#"))
    return {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def size(text):
    """The bytes that a size such as 1GB means to venus, where a bare number is of kilobytes; or None."""
    text = text.upper()
    plain = text.removesuffix("B")
    unit = plain[-1:] if plain[-1:] in UNITS else ""
    number = plain.removesuffix(unit)
    if not (number.isascii() and number.isdigit()) or (text != plain and not unit):
        return None
    return int(number) << UNITS[unit or "K"]


def room(cache):
    """Bytes that a venus with `cache` bytes of cache may come to need on disk.

    Beside the cache its records: 64 MiB and 4 kB for each of at most 50 files in a MiB of cache,
    and a log of a quarter of that. Measured with 200 MiB and 1 GiB: 119 and 209 MiB.
    """
    return cache + (64 << 20) * 5 // 4 + cache // 4
