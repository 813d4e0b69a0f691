"""What the author of an AI worker writes: an analyzer, which returns a result or says why there is none."""

from __future__ import annotations

import re
from typing import Final, Protocol

from catalogsync.catalog.v1 import analysis_service_pb2 as pb

INTERNAL: Final = "INTERNAL"
"""The failure reason when an analyzer raises an unexpected exception."""
TIMED_OUT: Final = "TIMED_OUT"
"""The failure reason when an analysis takes longer than the time limit."""
RESULT_INVALID: Final = "RESULT_INVALID"
"""The failure reason when the service does not accept a result, such as one with a score above 1."""

_MAX_MESSAGE_CHARACTERS: Final = 1_000
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


class TaskFailed(Exception):
    """An analysis without a result.

    Args:
        reason: in words of the analyzer, such as "IMAGE_NOT_FOUND": a letter, then at most 62 of A-Z, 0-9, "_".
        message: for people; characters after the first 1,000 are cut off.
        permanent: whether another attempt cannot help: the task is then dead at once.

    Raises:
        ValueError: the reason has another form.
    """

    def __init__(self, reason: str, message: str = "", permanent: bool = False) -> None:
        if not _REASON.fullmatch(reason):
            raise ValueError(f"{reason!r} is not a reason: write a letter and at most 62 more of A-Z, 0-9 and _")
        # All arguments, so that the exception can be sent from the process that analyzes.
        super().__init__(reason, message, permanent)
        self.reason = reason
        self.message = message
        self.permanent = permanent

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason


class Analyzer(Protocol):
    """Analyzes images."""

    async def analyze(self, task: pb.AnalysisTask) -> pb.AnalysisResult:
        """Return what was found in the image of the task.

        The worker calls this for several tasks at the same time. It cancels the call when the lease of the task is
        lost. Work that blocks belongs into a thread or a process: a blocked event loop extends no leases.

        Returns:
            The result; the worker sets `model_version` and `processing_time` if they are not set.

        Raises:
            TaskFailed: there is no result. Any other exception is submitted as a failure with the reason INTERNAL
                and the name of its class, and the task is attempted again.
        """
        ...


def failed_result(task: pb.AnalysisTask, reason: str, message: str, *, permanent: bool = False) -> pb.TaskResult:
    """Return the failure of a task, with as much of the message as the service accepts."""
    failure = pb.TaskFailure(reason=reason, message=message[:_MAX_MESSAGE_CHARACTERS], permanent=permanent)
    return pb.TaskResult(lease_id=task.lease_id, failure=failure)
