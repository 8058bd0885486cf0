"""Which dates a recurrence rule brings, by python-dateutil.

A question: the rule, the first start (20260307), and how many dates, apart by spaces. An answer: those
dates, none after forty years.
"""

import datetime
import sys
import warnings

from dateutil.rrule import rrulestr

# A rule with COUNT gets an end here, too, which RFC 5545 does not have and this reads as one would.
warnings.simplefilter("ignore", DeprecationWarning)

for line in sys.stdin:
    text, first, count = line.split()
    start = datetime.datetime.strptime(first, "%Y%m%d")
    rule = rrulestr(text, dtstart=start)
    end = start.replace(year=start.year + 40, day=min(start.day, 28))
    if "UNTIL=" not in text:
        # Else it would look for dates that never come until the year 9999, one rule for seconds.
        rule = rule.replace(until=end)
    dates = []
    for date in rule:
        if date > end or len(dates) == int(count):
            break
        dates.append(date.strftime("%Y%m%d"))
    print(" ".join(dates))
