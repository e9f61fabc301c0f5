"""A timer that an event loop waits for as for a socket, exact to a fraction of a millisecond.

The timers of event loops count whole milliseconds. Linux has timers that are descriptors and expire
to the microsecond: timerfd_create(2), which Python offers by name from version 3.13 only.
"""

import ctypes
import os
import sys

_CLOCK_MONOTONIC = 1
"""The clock of `time.perf_counter_ns` on Linux."""
_ABSOLUTE = 1
_S = 1_000_000_000


class _Moment(ctypes.Structure):
    """struct itimerspec: an interval, of no use here, and the moment of the next expiry."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Timer:
    """A timer whose descriptor `fd` becomes readable when it expires.

    Raises:
        OSError: this system has no such timers.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("Timer descriptors are Linux's")
        self._libc = ctypes.CDLL(None, use_errno=True)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self.fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "A timer cannot be made")

    def set(self, due_ns: int) -> None:
        """Expire at `due_ns` on `time.perf_counter_ns()`, and no more at what was set before."""
        moment = _Moment(0, 0, *divmod(max(due_ns, 1), _S))
        if self._libc.timerfd_settime(self.fd, _ABSOLUTE, ctypes.byref(moment), None) != 0:
            raise OSError(ctypes.get_errno(), "The timer cannot be set")

    def has_expired(self) -> bool:
        """Whether it has expired since it was last set or asked."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)
