"""Hostile shop references: domains and addresses that try to make the connector call somebody else."""

# ruff: noqa: E501, RUF001
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "127.8.9.10")
"""Addresses at which this machine's own listeners answer."""

DENIED: Final = (
    *LOOPBACK,
    # Private, link-local, shared and special IPv4.
    "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254",
    "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.254",
    "0.1.2.3", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.254", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "168.63.129.16", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    # IPv6: local, multicast, reserved, documentation, discard.
    "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1",
    "100::1", "5f00::1", "4000::1", "2001:10::1", "2001:2::1",
    # IPv6 that embeds an IPv4 address: mapped, compatible, translated, NAT64, 6to4, Teredo.
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::ffff:224.0.0.1", "::7f00:1", "::a00:1",
    "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1",
    "64:ff9b:1:ffff::1", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "2001::1", "2001:0:4136:e378::1",
    "2001:0:7f00:1::",
)  # fmt: skip
"""At least one address of each range that no shop may lead to."""

PUBLIC: Final = "93.184.216.34"
PUBLIC_V6: Final = "2606:4700::1111"


@dataclass(frozen=True, slots=True)
class Reference:
    """A domain as a request may hold it."""

    family: str
    domain: str


def references() -> tuple[Reference, ...]:
    """Return all of them, each once; `dns_answers` says what their names resolve to."""
    families = {
        "IP literal": _literals(),
        "user info": _with_parts(("user@{}", "user:secret@{}", "{}@shop.myshopify.com", "a.myshopify.com@{}")),
        "port": _with_parts(("{}:80", "{}:443", "{}:8443", "{}:0", "{}:65536", "{}:")),
        "fragment": _with_parts(("{}#", "{}#.myshopify.com", "{}#@shop.example", "#{}", "{}#.mybigcommerce.com")),
        "path and query": _with_parts(("{}/", "{}/a", "{}?", "{}?.myshopify.com", "{}/.myshopify.com", "//{}")),
        "scheme": _with_parts(("http://{}", "https://{}", "file://{}", "gopher://{}", "javascript:{}")),
        "percent": _with_parts(
            ("{}%2e", "%00{}", "{}%00.myshopify.com", "{}%23.myshopify.com", "%6c{}", "{}%25eth0")
        ),
        "backslash and space": _with_parts(
            ("\\\\{}", "{}\\.myshopify.com", " {}", "{} ", "{}\t", "a b.{}", "{};x")
        ),
        "line end": _with_parts(
            ("{}\n", "{}\r\n", "\n{}", "{}\r\nHost: evil.example", "{}\u2028", "{}\0", "{}\x85")
        ),
        "unicode": _unicode(),
        "suffix and prefix": _affixes(),
        "local name": _local_names(),
        "length and labels": _lengths(),
        "DNS": (f"{name}.{zone}" for zone in ZONES for name in dns_names()),
    }
    found = {domain: Reference(family, domain) for family, domains in families.items() for domain in domains}
    return tuple(found.values())


ZONES: Final = ("hostile.example", "myshopify.com")
_HOSTS: Final = ("evil.example", "127.0.0.1", "localhost", "a.myshopify.com", "store-abc.mybigcommerce.com")


def _with_parts(forms: tuple[str, ...]) -> Iterator[str]:
    for form in forms:
        for host in _HOSTS:
            yield form.format(host)


def _literals() -> Iterator[str]:
    for text in DENIED:
        yield text
        if ":" in text:
            yield from (f"[{text}]", f"[{text}", f"{text}]", f"{text}%eth0", f"[{text}%25lo]")
        else:
            yield from _ipv4_forms(IPv4Address(text))


def _ipv4_forms(address: IPv4Address) -> Iterator[str]:
    a, b, c, d = address.packed
    number = int(address)
    yield from (str(number), hex(number), f"0{number:o}", f"{number}.", f"{address}.", f"{address}..")
    yield from (f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:03d}.{b:03d}.{c:03d}.{d:03d}")
    yield from (f"{a}.{b}.{c << 8 | d}", f"{a}.{b << 16 | c << 8 | d}", f"{a:#x}.{b << 16 | c << 8 | d}")
    yield from (f"{a}.{b}.{c}.{d:#x}", f"::ffff:{address}", f"[::ffff:{address}]", f"[{address}]", f"+{address}")


def _unicode() -> Iterator[str]:
    for dot in ("\u3002", "\uff0e", "\uff61", "\u2024", "\ufe52"):
        yield from (
            f"127{dot}0{dot}0{dot}1",
            f"a{dot}myshopify{dot}com",
            f"evil{dot}example",
            f"localhost{dot}a.b",
        )
    yield from ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ.example", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "١٢٧.٠.٠.١", "𝟏𝟐𝟕.𝟎.𝟎.𝟏")
    yield from ("a.myshopify.c\u043em", "\u0430.myshopify.com", "a.my\u0455hopify.com", "a.myshop\u0456fy.com")
    yield from ("a.mysho\u200bpify.com", "a.myshopify.com\u200b", "\u202emoc.yfipohsym.a", "a\u00ad.myshopify.com")
    yield from (
        "\u212a.myshopify.com",
        "stra\u00dfe.example",
        "\u0130.myshopify.com",
        "a\u0301.example",
        "\ufeffa.example",
    )
    yield from (
        "evil.example\uff03.myshopify.com",
        "evil.example\uff0f.myshopify.com",
        "evil\uff20a.myshopify.com",
    )
    yield from ("evil.example\u2100.myshopify.com", "evil\u2488com.myshopify.com", "\u2163.myshopify.com")


def _affixes() -> Iterator[str]:
    for zone in ("myshopify.com", "mybigcommerce.com"):
        yield from (
            zone,
            f".{zone}",
            f"evil{zone}",
            f"evil-{zone}",
            f"x.{zone}.evil.example",
            f"x.{zone}-evil.example",
        )
        yield from (
            f"x.{zone}.",
            f"x.{zone}..",
            f"x..{zone}",
            f"-x.{zone}",
            f"_x.{zone}",
            f"*.{zone}",
            f"x.y.{zone}",
        )
        yield from (
            f"x.{zone.replace('.', '-')}",
            f"x.{zone}m",
            f"x.{zone[:-1]}",
            f"x.{zone.replace('my', 'rny')}",
        )
        yield from (f"x.{zone},evil.example", f"x.{zone}|evil.example", f"evil.example,{zone}", f"x{{}}.{zone}")
    yield from ("storage.googleapis.com", "api.bigcommerce.com", "..", ".", "-", "a..b.example", "a.-b.example")


def _local_names() -> Iterator[str]:
    names = ("localhost", "localhost.localdomain", "ip6-localhost", "metadata", "metadata.google.internal")
    more = (
        "instance-data",
        "instance-data.ec2.internal",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    tail = ("router.local", "printer.lan", "db.internal", "host.docker.internal", "gateway.docker.internal")
    rest = (
        "intranet",
        "wpad",
        "broadcasthost",
        "vault.service.consul",
        "localtest.me",
        "a.localhost",
        "a.home.arpa",
    )
    wild = (
        "127.0.0.1.nip.io",
        "169.254.169.254.nip.io",
        "7f000001.nip.io",
        "10-0-0-1.sslip.io",
        "lvh.me",
        "vcap.me",
    )
    for name in (*names, *more, *tail, *rest, *wild):
        yield from (name, f"{name}.", name.upper())


def _lengths() -> Iterator[str]:
    for length in (64, 254, 1_000, 20_000):
        yield from (
            "a" * length,
            f"{'a' * length}.example",
            f"{'a' * length}.myshopify.com",
            "a." * length + "example",
        )
    yield from (
        "",
        "a",
        "a." * 127 + "com",
        "1.example.1",
        "a.0x7f",
        "a.b.127",
        "xn--.example",
        "xn--a.myshopify.com.x",
    )


# What names resolve to, by their first label.


def dns_names() -> Iterator[str]:
    """Yield first labels: one address, one of several, an alias, and answers that change."""
    for index in range(len(DENIED)):
        yield from (f"only{index}", f"mixed{index}", f"alias{index}", f"rebind{index}")


class HostileDns:
    """Answers for the names of `dns_names`; every other name is 127.0.0.1, even those of platforms."""

    def __init__(self) -> None:
        self.rebound = False
        """Whether the names that begin with "rebind" lead to their denied address now, instead of a public one."""

    def __call__(self, name: str, query_type: int) -> tuple[str, ...]:
        label, _, zone = name.partition(".")
        kind = label.rstrip("0123456789")
        index = label[len(kind) :]
        if not index or int(index) >= len(DENIED):
            return ("127.0.0.1", "::1")
        address = DENIED[int(index)]
        match kind:
            case "mixed":
                return (PUBLIC, address)
            case "alias":
                return (f"shop.{zone}.", "cdn.example.", f"only{index}.{zone}.", address)
            case "rebind":
                return (address,) if self.rebound else (PUBLIC, PUBLIC_V6)
            case _:
                return (address,)
