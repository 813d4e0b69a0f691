"""The expected items of the recorded store, written by hand from its recordings.

Of variations 75 to 204 (product 74) only the first and the last are here; the others follow a pattern and are
checked by rule.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class Item(NamedTuple):
    """The values that the store's admin shows for an item."""

    product: int
    sku: str
    price: str | None
    compare_at: str | None
    stock: int | None
    available: bool


ITEMS: dict[int, Item] = {
    16: Item(16, "CAM-001", "19.90", None, 25, True),
    17: Item(17, "SUD-002", "39.90", "49.90", 7, True),  # on sale
    18: Item(18, "GOR-003", "15", None, 3, True),  # the sale is over
    19: Item(19, "BUF-004", "25", None, 4, True),  # the sale has not started
    20: Item(20, "NOP-005", None, None, 1, False),  # no price
    21: Item(21, "ZER-006", "0", None, None, True),  # free, stock not managed
    22: Item(22, "DEC-007", "0.123456789", None, 100000, True),
    23: Item(23, "BIG-008", "1234567.89", None, 1, True),
    24: Item(24, "UNM-009", "30", None, None, True),
    25: Item(25, "UNM-010", "30", None, None, False),  # out of stock, stock not managed
    26: Item(26, "STK-011", "12.5", None, 0, False),
    27: Item(27, "STK-012", "12.50", None, -3, True),  # sold beyond its stock
    28: Item(28, "STK-013", "12.50", None, 0, True),  # on backorder
    29: Item(29, "UNM-014", "99", None, None, True),
    30: Item(30, "IMG-015", "5", None, 5, True),
    31: Item(31, "IMG-016", "5", None, 5, True),
    32: Item(32, "IMG-017", "5", None, 5, True),
    33: Item(33, "IMG-018", "5", None, 5, True),
    34: Item(34, "TIT-019", "3.95", None, 40, True),
    35: Item(35, "TIT-020", "3.95", None, 40, True),
    36: Item(36, "TIT-021", "8", None, 12, True),
    37: Item(37, "TIT-022", "11", None, 12, True),
    38: Item(38, "TIT-023", "11", None, 12, True),
    39: Item(39, "TIT-024", "11", None, 12, True),
    40: Item(40, "TIT-025", "11", None, 12, True),
    41: Item(41, "0", "0.00", None, 0, False),
    42: Item(42, "", "7", None, 2, True),
    43: Item(43, "DUP-1", "7", None, 2, True),
    44: Item(44, "DUP-1", "8", None, 3, True),
    45: Item(45, "000123", "7", None, 2, True),
    46: Item(46, "A/B, C ü #1", "7", None, 2, True),
    47: Item(47, "STA-032", "7", None, 2, False),  # draft
    48: Item(48, "STA-033", "7", None, 2, False),  # private
    49: Item(49, "STA-034", "7", None, 2, False),  # pending
    50: Item(50, "STA-035", "7", None, 2, False),  # scheduled
    52: Item(52, "STA-037", "7", None, 2, True),
    53: Item(53, "STA-038", "7", None, 2, True),  # hidden from the catalog
    54: Item(54, "STA-039", "7", None, 2, True),
    55: Item(55, "TYP-040", "60", None, None, True),
    56: Item(56, "TYP-041", "14.99", None, None, True),
    57: Item(57, "TYP-042", "199", None, None, True),  # external
    58: Item(58, "TYP-043", None, None, None, False),  # external without a price
    59: Item(59, "TYP-044", "5", None, None, True),  # grouped: from 5
    60: Item(60, "TYP-045", None, None, None, False),  # grouped, empty
    61: Item(61, "TYP-046", "33", None, 6, True),  # type of a missing plugin
    62: Item(62, "RAW-047", "12.50", None, 6, True),
    63: Item(63, "FUL-048", "77.7", None, 9, True),
    67: Item(66, "VAR-051-ROJO", "59.00", None, 3, True),
    68: Item(66, "VAR-051-VERDE", "61.00", None, 0, False),
    69: Item(66, "VAR-051-AZUL", "63.00", None, 8, True),
    71: Item(70, "VAR-052", "10", None, 1, True),  # the parent's SKU, as the store shows it everywhere
    72: Item(70, "VAR-052", "10", None, 2, True),
    73: Item(70, "VAR-052-L", "10", None, 3, True),
    75: Item(74, "VAR-053-36-NEGRO", "81.00", None, 1, True),
    204: Item(74, "VAR-053-48-CRUDO", "84.00", None, 9, True),
    206: Item(205, "VAR-054-S", "21", None, 17, True),  # the parent manages the stock
    207: Item(205, "VAR-054-M", "22", None, 4, True),
    209: Item(208, "VAR-055-ANY", "9", None, 1, True),
    210: Item(208, "VAR-055-DIS", "9", None, 2, False),  # disabled
    211: Item(208, "VAR-055-NOP", None, None, 3, False),
    212: Item(208, "VAR-055-SALE", "7.5", "9", 4, True),
    213: Item(208, "VAR-055-UNM", "9.99", None, None, True),
    214: Item(208, "VAR-055-ZERO", "0", None, 0, True),
    216: Item(215, "VAR-056-S", "20", None, 2, False),  # the parent is a draft
    217: Item(215, "VAR-056-M", "20", None, 2, False),
    219: Item(218, "VAR-057-S", "20", None, 2, False),  # the parent is private
    220: Item(218, "VAR-057-M", "20", None, 2, False),
    225: Item(224, "VAR-059-ALG", "31", None, 5, True),
    226: Item(224, "VAR-059-LAN", "41", None, 6, True),
    228: Item(227, "VAR-060-S", None, None, 2, False),
    229: Item(227, "VAR-060-M", None, None, 2, False),
    230: Item(230, "VAR-061", "18", None, 5, True),  # was variable: 231 and 232 are stale
    236: Item(235, "VAR-063-U", "5.5", None, 2, True),
}

PRODUCT_COUNT = 60
WITHOUT_ITEMS = (64, 65)
"""Variable products without variations."""
REGULAR = range(75, 205)
"""The 130 variations of product 74."""
ITEM_IDS = {str(item) for item in {*ITEMS, *REGULAR}}


def money(text: str | None) -> Decimal | None:
    """Return the price with the digits of the text."""
    return None if text is None else Decimal(text)
