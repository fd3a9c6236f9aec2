"""The process of one trial of a user's loop: `python -m lrsearch.outside.loop_process TASK`.

Started by `process`, like a command. It reports through a descriptor that only it inherits: lines
of a token and JSON, metrics or `["raised" or "changed", TEXT]` where it cannot go on.

It imports neither torch nor NumPy by itself: a loop has what it imports, and waits for no more.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from lrsearch import forks, reporting
from lrsearch.data.raised import tell_raised, tell_trace
from lrsearch.data.seeding import LateSeeding
from lrsearch.errors import LrsearchError, Stopped, nearest, suggest
from lrsearch.outside.functions import (
    find_device,
    find_loop,
    refuse_unfinished,
    tell_returned,
)
from lrsearch.reporting import encode
from lrsearch.train.users.importing import importable, source_hashes
from lrsearch.trial import Workplace


class Channel:
    """The descriptor that reports are written to, by this process and its forks."""

    def __init__(self, descriptor: int, token: str) -> None:
        os.set_inheritable(descriptor, False)  # What the loop starts has none of it.
        self._descriptor, self._token = descriptor, token
        self._file = self._identify()

    def _identify(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    @property
    def is_closed(self) -> bool:
        """Whether user code has closed the descriptor, though another file may have its number by
        now."""
        try:
            return self._identify() != self._file
        except OSError:
            return True

    def write(self, content: str) -> None:
        """Write a line of JSON, in one piece: forks may write there, too. Raises RuntimeError where
        the descriptor is closed."""
        if self.is_closed:
            raise RuntimeError(CLOSED)
        # A line of its own, whatever another writer has left there.
        os.write(self._descriptor, f"\n{self._token}{content}\n".encode())


CLOSED = (
    "the descriptor that trial.report writes to is closed: close what is yours, and no range of "
    "numbers, as os.closerange(3, 256) does"
)


class LoopTrial:
    """The trial that a loop is called with.

    `params` are the fixed and the searched parameters, `seed` is the seed that Python's, numpy's
    and torch's global generators were given, `device` torch's name of the device, `number` the
    trial's place in the run, `run` its name.
    """

    def __init__(self, task: dict[str, Any], params: dict[str, Any], channel: Channel) -> None:
        self.params = params
        self.seed: int = task["seed"]
        self.number: int = task["number"]
        self.run: str = task["run"]
        self._asked_device: str = task["device"]
        self._channel = channel
        self.stopped = False
        self.reports = 0
        forks.handle(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopped = True

    @cached_property
    def device(self) -> str:
        """torch's name of the device. Raises UsageError where it is not available."""
        return find_device(self._asked_device)

    def lr_at(self, step: int, total: int) -> float:
        """The learning rate of a step (from 0) of `total`: the parameter `lr`, times the schedule
        and the warmup where there are such parameters.

        Raises ValueError for a step outside 0..total - 1, or a schedule that does not fit.
        """
        if not 0 <= step < total:
            raise ValueError(f"lr_at: step {step} is none of {total}, which are 0 to {total - 1}")
        if "lr" not in self.params:
            raise ValueError("lr_at: there is no parameter lr")
        import numpy as np

        from lrsearch.schedules import multipliers

        multiplier = multipliers(
            self.params.get("schedule") or {"name": "constant"},
            self.params.get("warmup"),
            budget=total,
            # No duration is in their units.
            samples=total,
            batch_size=1,
            steps=np.array([step], dtype=np.float64),
        )
        return float(self.params["lr"]) * float(multiplier[0])

    def report(self, step: int | None = None, *others: object, **metrics: float) -> None:
        """Report metrics after a step (a whole number from 0; left out, it is the next): anything
        that `float` takes, and arrays and tensors of one value.

        Raises Stopped when the trial is to stop, TypeError or ValueError for a value that is no
        metric, RuntimeError where user code has closed the channel.
        """
        self._channel.write(encode(step, metrics, others))
        self.reports += 1
        if self.stopped:
            raise Stopped("the trial is to stop")

    def __getitem__(self, name: object) -> Any:
        raise TypeError(f"a trial has no items: write trial.params[{name!r}]")

    def __getattr__(self, name: str) -> Any:
        """Raises AttributeError, with what to write instead."""
        params = vars(self).get("params", {})
        own = [each for each in dir(self) if not each.startswith("_")]
        if name in params:
            hint = f"write trial.params['{name}']"
        elif name.startswith("suggest"):
            hint = "the spec says what is searched, and trial.params has its value"
        elif name in ("should_prune", "should_stop"):
            hint = "trial.report raises lrsearch.Stopped where it is to stop"
        elif name in ("log", "log_metrics", "log_dict"):
            hint = "write trial.report(step, **metrics)"
        elif (meant := nearest(name, [*own, *params])) in params:
            hint = f"did you mean trial.params['{meant}']?"
        else:
            hint = suggest(name, own)
        raise AttributeError(f"a trial has no '{name}': {hint}")


def main() -> None:
    """Train the trial of the arguments."""
    faulthandler.enable()
    task = json.loads(sys.argv.pop())  # The token is no argument of the loop's.
    channel = Channel(task["channel"], task["token"])
    params = json.loads(Path(os.environ["LRSEARCH_PARAMS"]).read_text("utf-8"))
    workplace = Workplace(task["device"], task["folder"], tuple(task["allowed"]))

    def say(kind: str, text: str) -> None:
        if channel.is_closed:
            print(text, file=sys.stderr)  # The end of its output is what will be told.
        else:
            channel.write(json.dumps([kind, text]))

    seeding = LateSeeding()
    with importable(workplace):
        try:
            seeding.seed(task["seed"])  # A module may draw when it is imported, too.
            loop = find_loop(task["loop"], workplace, params)
            found = source_hashes([task["loop"]], workplace).get(task["loop"])
            if found != task["hash"]:
                say("changed", task["loop"])
                sys.exit(1)
            trial = LoopTrial(task, params, channel)
            reporting.inside = trial.report
            seeding.seed(trial.seed)
            try:
                returned = loop(trial)
                refuse_unfinished(returned, task["loop"])
                if returned is not None and not trial.reports:
                    print(tell_returned(returned), file=sys.stderr)
            except Stopped:
                if not trial.stopped:
                    say("raised", _UNASKED)
                    sys.exit(1)
            if trial.stopped:
                # The process that stopped it knows how it ended. If none did, it has not trained.
                say("raised", "stopped from outside, by SIGTERM")
                sys.exit(1)
            if channel.is_closed:  # It may not have been reported to since.
                say("raised", f"RuntimeError: {CLOSED}")
                sys.exit(1)
        except LrsearchError as error:
            say("raised", str(error))
            sys.exit(1)
        # The user's Ctrl-C does not reach this process: an interrupt is the loop's own.
        except (Exception, KeyboardInterrupt) as error:
            print(tell_trace(error), end="", file=sys.stderr)
            say("raised", tell_raised(error))
            sys.exit(1)


_UNASKED = "it raised lrsearch.Stopped, though nobody stops it: to end earlier, return"


if __name__ == "__main__":
    main()
