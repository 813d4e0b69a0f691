"""How a shop's bulk operations behave; change it while the store runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class BulkSwitches:
    """What is set when a job starts holds for the job; what is said of files holds for the next download."""

    seconds: float = 0.5
    """A job takes at least so long; a tenth of it CREATED, the rest RUNNING."""
    cancel_seconds: float = 0.0
    """How long a cancelled job stays CANCELING."""
    counts_lag: int = 0
    """By how many objects objectCount and rootObjectCount stay behind while a job runs."""
    stalls: bool = False
    """The job stays RUNNING at half of its objects, for ever."""
    fails: str = ""
    """The errorCode with which jobs end as FAILED after half of their rows; "" for none."""
    adjacent: bool = False
    """Children right behind their parents, although nobody asked for groupObjects."""
    seed: int = 7
    """Of the order of rows."""
    nested_limit: int | None = None
    """Nested connections silently end after so many rows."""
    loses_every: int = 0
    """Every n-th root object is silently missing, with its children; 0: none."""
    refuses: str = ""
    """The userError code with which new jobs are refused: LIMIT_REACHED and the like; "" for none."""
    files_url: str = ""
    """Where result URLs point; "" means this store, beside the shop's own path."""
    cut_files: int = 0
    """The next so many downloads break off after half of what was asked for."""
    short_files: bool = False
    """Results end in the middle of their last row, and HTTP says that this is all."""
    whole_files: bool = False
    """Range requests are answered with the whole file."""
