"""Dates of a WordPress site: texts without zone, in site time and in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

# One zone without summer time, east of UTC, so that a value moved to site time is an hour off.
SITE_ZONE_NAME = "Africa/Lagos"
SITE_OFFSET_HOURS = 1
SITE_ZONE = timezone(timedelta(hours=SITE_OFFSET_HOURS))

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(?P<zone>[Zz]|[+-]\d\d(:\d\d)?)?")


def utc(moment: datetime) -> str:
    """The `_gmt` form."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def local(moment: datetime) -> str:
    """The site's own form."""
    return moment.astimezone(SITE_ZONE).strftime("%Y-%m-%dT%H:%M:%S")


def bound(text: str, *, dates_are_gmt: bool) -> int | None:
    """The second that modified_after and its like are compared with; None when the text is no date and time.

    The platform moves a value with a zone to site time and takes one without as it is, and only then chooses
    the column. So "...Z" together with dates_are_gmt is off by the site's offset.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        when = datetime.fromisoformat(text.upper().replace(" ", "T"))
    except ValueError:
        return None
    naive = when.astimezone(SITE_ZONE).replace(tzinfo=None) if match["zone"] else when
    column = UTC if dates_are_gmt else SITE_ZONE
    return int(naive.replace(tzinfo=column).timestamp())
