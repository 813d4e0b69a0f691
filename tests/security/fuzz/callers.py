"""Who calls, with which metadata and deadline."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.security.forged_tokens import Signer, client_forger, operator_forger
from tests.security.fuzz.mutations import noise
from tests.security.methods import Method
from tests.security.target import Target, bearer
from tests.security.token_families import forge
from tests.waiting import TIMEOUT_SECONDS

AnyMetadata = tuple[tuple[str, str | bytes], ...]

_SHORT_TIMEOUTS: Final = (0.0, 1e-9, 1e-6, 0.001, 0.01, 0.05)
_HUGE_TIMEOUTS: Final = (3_600.0, 2_147_484.0, 1e6, 1e8, 1e9)
_METADATA_BYTES: Final = 8_192
"""What the services accept; gRPC refuses at random somewhat below, too."""
_SAFE_METADATA_BYTES: Final = 4_096


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The metadata and the deadline of one call."""

    kind: str
    metadata: AnyMetadata
    timeout: float

    @property
    def may_expire(self) -> bool:
        """Whether the deadline may pass before the response."""
        return self.timeout < 1

    @property
    def is_oversized(self) -> bool:
        """Whether gRPC itself may refuse the metadata."""
        return sum(len(key) + len(value) + 32 for key, value in self.metadata) > _SAFE_METADATA_BYTES


class Callers:
    """Generates callers for a target: known ones, anonymous ones, and some with forged tokens."""

    def __init__(self, target: Target, merchant_id: str) -> None:
        self._target = target
        self._merchant_id = merchant_id
        client, operator = (
            Signer(kid=key.kid, algorithm="HS256", key=key.key.encode())
            for key in (target.client_key, target.operator_key)
        )
        subject = target.shops[0].partition(":")[2]
        forgers = (
            client_forger(client, operator, issuer=target.issuer, subject=subject),
            operator_forger(operator, client, issuer=target.issuer, subject=subject),
        )
        # A token of the future becomes valid during a long run.
        self._forged = [
            one.token
            for forger in forgers
            for one in forge(forger)
            if one.can_be_sent and one.family != "times" and len(one.token) < _SAFE_METADATA_BYTES - 500
        ]

    def generate(self, random: Random, method: Method) -> Caller:
        """Return a caller."""
        kind = random.choices(
            ("operator", "service", "domain", "merchant", "anonymous", "forged"), (35, 20, 15, 10, 8, 12)
        )[0]
        if not method.is_of_catalog and kind in ("operator", "domain"):
            kind = "service"
        metadata = self._credentials(random, method, kind)
        if random.random() < 0.25:
            metadata = self._hostile(random, metadata)
        timeout = TIMEOUT_SECONDS
        if random.random() < 0.08:
            timeout = random.choice(_SHORT_TIMEOUTS + _HUGE_TIMEOUTS)
        return Caller(kind=kind, metadata=metadata, timeout=timeout)

    def _credentials(self, random: Random, method: Method, kind: str) -> AnyMetadata:
        target = self._target
        match kind:
            case "operator":
                return target.operator()
            case "service":
                return target.service if method.is_of_catalog else target.connector_service
            case "domain":
                return target.client(domain=target.shops[0].partition(":")[2])
            case "merchant":
                return target.client(merchant_id=self._merchant_id)
            case "forged":
                return bearer(random.choice(self._forged))
        return ()

    def _hostile(self, random: Random, metadata: AnyMetadata) -> AnyMetadata:
        printable = "".join(chr(random.randint(0x20, 0x7E)) for _ in range(random.randint(0, 120)))
        more: tuple[tuple[str, Any], ...] = random.choice(
            (
                (("x-correlation-id", printable),),
                (("x-correlation-id", "x" * random.choice((64, 65, 3_000))),),
                (("x-correlation-id", "a"), ("x-correlation-id", "b")),
                (("x-correlation-id-bin", random.randbytes(20)),),
                (("authorization-bin", random.randbytes(60)), ("x-service-secret-bin", b"tester:secret")),
                (("grpc-trace-bin", noise(random)[:500]), ("grpc-tags-bin", random.randbytes(50))),
                (("x-anything-bin", b""), ("x-anything", "")),
                tuple((f"x-{number}", "v") for number in range(random.choice((5, 40, 80)))),
                (("x-long", "v" * random.choice((1_000, 3_000))),),
                (("x-too-long", "v" * random.choice((8_000, _METADATA_BYTES, 20_000))),),
                (*metadata, ("authorization", f"Bearer {printable}")),
                (
                    (
                        "authorization",
                        random.choice(("Basic YTpi", "Bearer", "Bearer ", "bearer  x", printable)),
                    ),
                ),
                (("x-service-secret", random.choice((":", "tester", "tester:", f"tester:{printable}"))),),
                (("grpc-timeout", "1H"), ("grpc-encoding", "gzip"), ("grpc-accept-encoding", printable)),
                (("user-agent", printable), ("x-forwarded-for", "127.0.0.1"), ("host", "localhost")),
            )
        )
        return (*metadata, *more)
