"""Faults that are injected into a shop: they answer in its place, or cut, slow down or falsify its replies."""

from devstore.faults.fault import ORIGINAL_REPLY, FailNext, Fault, RequestMatcher
from devstore.faults.scripted_fault import FaultKind, InvalidFault, ScriptedFault, parse_fault

__all__ = [
    "ORIGINAL_REPLY",
    "RequestMatcher",
    "InvalidFault",
    "FailNext",
    "Fault",
    "FaultKind",
    "ScriptedFault",
    "parse_fault",
]
