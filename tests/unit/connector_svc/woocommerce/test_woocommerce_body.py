"""JSON is found behind noise, and what is cut short is never taken for less."""

from __future__ import annotations

import msgspec
import pytest

from connector_svc.platforms.woocommerce.json_salvage import CutShort, NotJson, parse

_READ = msgspec.json.Decoder(list[dict[str, int]]).decode
NOTICE = b"<br />\n<b>Warning</b>: Undefined array key [0] in /wp-content/{plugin}.php on line 7<br />\n"
MID_LINE = b"Deprecated: $items[] = {} in /wp-content/plugin.php\n"
LOG_LINE = b"[20-Nov-2026 12:00:00 UTC] PHP Notice: something {odd}\n"


def test_plain_json_is_read_without_remark() -> None:
    parsed = parse(b' [{"id": 1}]\n', _READ)
    assert (parsed.value, parsed.noise) == ([{"id": 1}], False)


@pytest.mark.parametrize(
    "before", [NOTICE, LOG_LINE, MID_LINE, NOTICE * 20], ids=["notice", "log line", "mid-line", "many"]
)
def test_notices_of_php_before_the_json_are_passed_over(before: bytes) -> None:
    parsed = parse(before + b'[{"id": 1}]', _READ)
    assert (parsed.value, parsed.noise) == ([{"id": 1}], True)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse(b'\xef\xbb\xbf[{"id": 1}]', _READ).value == [{"id": 1}]


@pytest.mark.parametrize("length", range(12))
def test_json_that_breaks_off_is_cut_short_at_every_byte(length: int) -> None:
    with pytest.raises(CutShort):
        parse(b'[{"id": 17}]'[:length], _READ)


@pytest.mark.parametrize(
    "body", [b'[{"id": 1, "images": [{"id": 2}]', b'[{"id": 1}, {"images": [{"id": 2}]}', NOTICE + b'[{"id": [{}]']
)
def test_an_inner_list_never_passes_for_the_whole(body: bytes) -> None:
    with pytest.raises(CutShort):
        parse(body, msgspec.json.Decoder(list[dict[str, object]]).decode)


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html><script>var a = [1];</script></html>",
        b'{"id": 1}',
        NOTICE + b'{"id": 1}',
        b"null",
        b"Service unavailable",
    ],
)
def test_anything_else_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse(body, _READ)
