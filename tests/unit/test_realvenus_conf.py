"""venus.conf, as venus reads it."""

import pytest
from realvenus import conf


def test_settings_are_read_as_venus_reads_them():
    text = '# a comment\n#cachesize=1MB\n\nrealm=coda.test\ncachesize="40MB"\ncachesize="100MB"\nempty=\n'
    assert conf.parse(text) == {"realm": "coda.test", "cachesize": "100MB", "empty": ""}


@pytest.mark.parametrize("text, size", [
    ("204800", 200 << 20), ("204800KB", 200 << 20), ("200MB", 200 << 20), ("200m", 200 << 20),
    ("1GB", 1 << 30), ("1t", 1 << 40), ("lots", None), ("", None), ("12B", None), ("-1MB", None),
    ("1.5GB", None)])
def test_sizes(text, size):
    assert conf.size(text) == size


@pytest.mark.parametrize("cache, log, data", [
    (200 << 20, 25010298, 100041194), (1 << 30, 43900000, 175000000)])
def test_room_is_enough_for_the_records_of_the_real_one(cache, log, data):
    assert cache + log + data < conf.room(cache) < 2 * (cache + log + data)
