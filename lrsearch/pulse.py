"""The pulse of a training: the training process beats at every step, and one listener may hear it.

Engines call `beat` at each step, each chunk of an evaluation and each batch that is loaded, and
`enter` where they turn to another activity. A worker tells its driver about once a second that it
is alive, and at once when its activity changes. The driver's own process has no listener.

A process that is asked to leave (`ask`), as by SIGTERM, does so at the next beat, which raises
`Leave`: engines save the state of their trainings, and end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

INTERVAL = 1.0
"""Seconds between two messages to the listener."""

TRAINING = "training"
"""The activity of a trial while its time counts."""

TRYING = "trying lanes"
"""The activity of a probe once the data are there."""


@dataclass(frozen=True)
class Alive:
    """A sign of life: the activity, its step, 0 where steps do not count, and the seconds since a
    process of the user's said anything, 0 where there is none."""

    activity: str
    step: int
    quiet: float = 0.0


class Leave(KeyboardInterrupt):
    """Raised in a process that was asked to leave: trainings under way are saved, and not
    finished."""


@dataclass
class Pulse:
    """The pulse of a process. `lost` are seconds in which it was stopped."""

    activity: str = ""
    step: int = 0
    quiet: float = 0.0
    lost: float = 0.0
    _last: float = 0.0
    _due: float = math.inf
    _listener: Callable[[Alive], None] | None = None
    _asked: bool = False
    _patient: bool = True
    _unbroken: int = 0

    def ask(self, *, patient: bool = True) -> None:
        """Ask the jobs of this process to leave at the next beat. With `patient` the asking process
        waits longer."""
        self._asked, self._patient = True, patient

    def patient(self) -> bool:
        """Whether the process that asked this one to leave waits longer."""
        return self._patient

    def asked(self) -> bool:
        """Whether this process was asked to leave."""
        return self._asked

    def doing(self) -> str:
        """The present activity, as `enter` was told."""
        return self.activity

    def stay(self) -> None:
        """Withdraw the request to leave."""
        self._asked = False

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """Raise `Leave` at no beat within: work that must not be torn is finished."""
        self._unbroken += 1
        try:
            yield
        finally:
            self._unbroken -= 1

    def beat(self, step: int = 0, *, quiet: float = 0.0) -> None:
        """Beat. `step` is the training's, after a step; `quiet` are the seconds since a process of
        the user's that is waited for said anything. Raises Leave where this process was asked to
        leave."""
        if self._asked and not self._unbroken:
            raise Leave("asked to leave")
        if step:
            self.step = step
        self.quiet = quiet
        self._last = now = time.monotonic()
        if now >= self._due:
            self._tell(now)

    def enter(self, activity: str) -> None:
        """Turn to another activity: "training", "loading the data"."""
        self.step = 0
        if activity != self.activity:
            self.activity = activity
            if self._listener is not None:
                self._tell(time.monotonic())
        self.beat()

    def clock(self) -> float:
        """Seconds from some moment on, without those in which the process was stopped."""
        return time.perf_counter() - self.lost

    def wake(self) -> None:
        """Leave the time since the last beat out of `clock`: the process was stopped, and goes
        on."""
        now = time.monotonic()
        if self._last:
            self.lost += now - self._last
        self._last = now

    def listen(self, listener: Callable[[Alive], None] | None) -> None:
        """Call a listener from now on, None for no listener. It is called between two steps."""
        self._listener = listener
        self._due = math.inf if listener is None else time.monotonic()

    def forget(self) -> None:
        """Begin anew: another job has its turn."""
        self.activity, self.step = "", 0

    def _tell(self, now: float) -> None:
        self._due = now + INTERVAL
        if self._listener is not None:
            self._listener(Alive(self.activity, self.step, self.quiet))


_pulse = Pulse()
"""The pulse of this process."""

beat = _pulse.beat
enter = _pulse.enter
clock = _pulse.clock
wake = _pulse.wake
listen = _pulse.listen
forget = _pulse.forget
ask = _pulse.ask
asked = _pulse.asked
patient = _pulse.patient
activity = _pulse.doing
stay = _pulse.stay
unbroken = _pulse.unbroken
