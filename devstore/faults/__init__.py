"""How a shop is made to misbehave: faults answer in its place, or do something to what it answers."""

from devstore.faults.fault import HONEST_REPLY, Aim, FailNext, Fault
from devstore.faults.scripted_fault import BadFault, FaultKind, ScriptedFault, read_fault

__all__ = [
    "HONEST_REPLY",
    "Aim",
    "BadFault",
    "FailNext",
    "Fault",
    "FaultKind",
    "ScriptedFault",
    "read_fault",
]
