"""What the hosts and plugins of some WooCommerce stores do to them."""

from __future__ import annotations

from enum import Enum


class WooQuirk(Enum):
    """One switch; a shop may have several, and a test may turn them while it is read."""

    STRIPPED_AUTHORIZATION = "stripped-authorization"
    """The host takes the Authorization header off, so that only keys in the query arrive."""
    PLAIN_PERMALINKS = "plain-permalinks"
    """The API is at /?rest_route= alone; /wp-json/ is the home page, what is below it a redirect."""
    NO_REWRITING = "no-rewriting"
    """The API is at /index.php/wp-json/ alone; the web server knows no /wp-json/."""
    NO_BULK_VARIATIONS = "no-bulk-variations"
    """Neither /wc/v3/variations nor wc-analytics/variations is there."""
    STALE_VARIATIONS = "stale-variations"
    """Lists over all products hold variations whose product is simple now, and one whose product is gone."""
    STALE_CHILDREN = "stale-children"
    """A product goes on naming variations that were removed by SQL or the command line, until it is written to."""
    NOTICES = "notices"
    """PHP prints a warning before each JSON, which makes it text/html."""
    BYTE_ORDER_MARK = "byte-order-mark"
    """A plugin's file begins with one, and so does each answer."""
    WEB_PAGE = "web-page"
    """A firewall answers everything with a page and status 200."""
    OTHER_HOME = "other-home"
    """The store's own address is another than the one it is called at; signatures are checked with it."""
