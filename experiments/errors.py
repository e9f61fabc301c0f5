"""What can go wrong that a user can mend, said in one sentence with what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

FAULT = 70
"""Exit code of a fault in abreast itself (EX_SOFTWARE of sysexits.h)."""
INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells give it."""
ENDED_BADLY = {"interrupted": INTERRUPTED, "fault": FAULT}
"""Exit codes of runs that ended so, whatever was found."""


class AbreastError(Exception):
    """An error to be shown without a traceback; whatever reads what is given may raise it.

    `message` says what it was and where (file, key, value); `hint` says what to do next.
    The process exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Put the file that an error is about in front of its message."""
    try:
        yield
    except AbreastError as error:
        raise type(error)(f"{source}: {error.message}", error.hint) from None


class PlanError(AbreastError):
    """A plan, or a file that a plan names, says something that cannot be run."""


class EndpointError(AbreastError):
    """The endpoint is not there, does not answer, or is not what the plan says it is."""


class RunFolderError(AbreastError):
    """A run folder cannot be written, or cannot be read."""
