"""The access rules of the contract: the option (catalogsync.options.v1.access) of each method.

Closed by default: a method of a service of ours without a rule cannot be served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from catalogsync.options.v1 import access_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from catalogsync_common.auth.failures import PermissionDenied
from catalogsync_common.principal import Principal, PrincipalKind

_KINDS: Final = MappingProxyType(
    {
        access_pb2.PRINCIPAL_KIND_CLIENT: PrincipalKind.CLIENT,
        access_pb2.PRINCIPAL_KIND_SERVICE: PrincipalKind.SERVICE,
        access_pb2.PRINCIPAL_KIND_OPERATOR: PrincipalKind.OPERATOR,
    }
)
_SCOPES: Final = MappingProxyType(
    {
        access_pb2.SCOPE_READ: "catalog:read",
        access_pb2.SCOPE_SYNC: "catalog:sync",
        access_pb2.SCOPE_MANAGE: "catalog:manage",
    }
)

_HEALTH: Final = "grpc.health.v1.Health"
_REFLECTIONS: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_PUBLIC_METHODS: Final = frozenset({f"/{_HEALTH}/Check", f"/{_HEALTH}/Watch"})
"""Methods that need no credentials. gRPC's client-side health checking calls Watch and cannot send any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessRule:
    """Who may call a method."""

    principals: tuple[PrincipalKind, ...]
    scope: str = ""
    """What the token of a client or an operator must have in its scope; empty: nothing in particular."""
    shop_field: str = ""
    """Field of the request that names the shop; empty: none does."""

    def check(self, principal: Principal) -> None:
        """Raise PermissionDenied if the principal may not call the method; services have every scope."""
        if principal.kind not in self.principals:
            raise PermissionDenied.of_kind(kind.value for kind in self.principals)
        if self.scope and principal.kind is not PrincipalKind.SERVICE and self.scope not in principal.scopes:
            raise PermissionDenied.of_scope(self.scope)


class MissingRule(Exception):
    """A method has no complete access rule."""


class AccessRules:
    """The rules of all methods of a server, by path: "/package.Service/Method"."""

    def __init__(self, rules: Mapping[str, AccessRule]) -> None:
        self._rules = dict(rules)
        reflection = AccessRule(principals=(PrincipalKind.SERVICE, PrincipalKind.OPERATOR))
        self._rules |= {f"/{name}/ServerReflectionInfo": reflection for name in _REFLECTIONS}

    @classmethod
    def of_services(cls, names: Iterable[str]) -> AccessRules:
        """Return the rules of these services, from their descriptors. Raises MissingRule."""
        pool = descriptor_pool.Default()
        methods = [method for name in names for method in pool.FindServiceByName(name).methods]
        return cls({path_of(method): rule_of(method) for method in methods})

    def is_public(self, method: str) -> bool:
        """Return whether the method needs no credentials."""
        return method in _PUBLIC_METHODS

    def find(self, method: str) -> AccessRule:
        """Return the rule of a method. Raises PermissionDenied if it has none."""
        rule = self._rules.get(method)
        if rule is None:
            raise PermissionDenied.of_kind(())
        return rule


def path_of(method: MethodDescriptor) -> str:
    """Return the path by which gRPC names the method."""
    return f"/{method.containing_service.full_name}/{method.name}"


def rule_of(method: MethodDescriptor) -> AccessRule:
    """Return the rule that the contract states for the method. Raises MissingRule."""
    option = method.GetOptions().Extensions[access_pb2.access]
    principals = tuple(_KINDS[kind] for kind in option.principals if kind in _KINDS)
    scope = _SCOPES.get(option.scope, "")
    if not principals or not scope:
        raise MissingRule(
            f"{path_of(method)} has no option (catalogsync.options.v1.access) with principals and scope"
        )
    if option.shop_field and option.shop_field not in method.input_type.fields_by_name:
        raise MissingRule(f"{path_of(method)}: its request has no field {option.shop_field!r}")
    return AccessRule(principals=principals, scope=scope, shop_field=option.shop_field)
