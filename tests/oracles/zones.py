"""What the clocks show in a zone, by Python's zoneinfo on the tzdata package (never the machine's own).

Questions, and their answers (runs of equal values, `value*count`):

    version                    the version of the zone database
    daily ZONE YEAR YEAR       the offset in seconds at each midnight UTC of those years, the last excluded
    around ZONE SECONDS MINUTES
        the offset at each minute from so many before that instant to so many after it; then ` | ` and,
        for each minute that the wall of the offset before it would show: civil time less the earlier
        reading, civil time less the later one, and `gap` where it does not exist
"""

import datetime
import sys
import zoneinfo

import tzdata

zoneinfo.reset_tzpath([])
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
MINUTE = datetime.timedelta(minutes=1)


def seconds(delta):
    return delta.days * 86400 + delta.seconds


def runs(values):
    told, last, count = [], None, 0
    for value in values:
        if value == last:
            count += 1
            continue
        if count:
            told.append(f"{last}*{count}")
        last, count = value, 1
    told.append(f"{last}*{count}")
    return " ".join(told)


def offset(zone, instant):
    return seconds(instant.replace(tzinfo=UTC).astimezone(zone).utcoffset())


def daily(zone, first, last):
    day, end = datetime.datetime(first, 1, 1), datetime.datetime(last, 1, 1)
    while day < end:
        yield offset(zone, day)
        day += datetime.timedelta(days=1)


def readings(zone, civil):
    # PEP 495: fold=0 reads with the offset before a change, fold=1 with the one after it.
    before = civil.replace(tzinfo=zone, fold=0).utcoffset()
    after = civil.replace(tzinfo=zone, fold=1).utcoffset()
    gap = " gap" if before < after else ""
    return f"{seconds(max(before, after))},{seconds(min(before, after))}{gap}".replace(" ", ",")


def around(zone, at, minutes):
    instant = EPOCH + datetime.timedelta(seconds=at)
    steps = range(-minutes, minutes + 1)
    offsets = runs(offset(zone, instant + step * MINUTE) for step in steps)
    before = offset(zone, instant - datetime.timedelta(seconds=1))
    wall = instant + datetime.timedelta(seconds=before)
    return f"{offsets} | {runs(readings(zone, wall + step * MINUTE) for step in steps)}"


for line in sys.stdin:
    what, *words = line.split()
    if what == "version":
        print(tzdata.IANA_VERSION)
    elif what == "daily":
        print(runs(daily(zoneinfo.ZoneInfo(words[0]), int(words[1]), int(words[2]))))
    elif what == "around":
        print(around(zoneinfo.ZoneInfo(words[0]), int(words[1]), int(words[2])))
    else:
        sys.exit(f"no question: {line}")
