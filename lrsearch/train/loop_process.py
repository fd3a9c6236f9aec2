"""The process of one trial of a person's own loop: `python -m lrsearch.train.loop_process TASK`.

Started by `commands`, like a command. It reports to the file of LRSEARCH_METRICS: JSON lines of
metrics, and `["lrsearch", "raised" or "changed", TEXT]` where it cannot go on.
"""

from __future__ import annotations

import faulthandler
import json
import operator
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lrsearch.data.interrupts import is_interrupt
from lrsearch.errors import LrsearchError, Stopped
from lrsearch.schedules import multipliers
from lrsearch.train.device import find_device
from lrsearch.train.importing import importable, source_hashes
from lrsearch.train.loops import find_loop
from lrsearch.train.randomness import seed_everything
from lrsearch.trial import Workplace


class LoopTrial:
    """What a loop is given.

    `params` are the fixed and the searched parameters, `seed` what the global generators of
    Python, numpy and torch were seeded with, `device` torch's name of one, `number` the trial's
    place in the run, `run` its name.
    """

    def __init__(self, task: dict[str, Any], params: dict[str, Any], reports: TextIO) -> None:
        self.params = params
        self.seed: int = task["seed"]
        self.device = str(find_device(task["device"]))
        self.number: int = task["number"]
        self.run: str = task["run"]
        self._reports = reports
        self._stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def lr_at(self, step: int, total: int) -> float:
        """The learning rate of a step (from 0) of `total`: the parameter `lr`, times the schedule
        and the warmup where there are such parameters.

        Raises ValueError for a step that is none of them, or a schedule that does not fit.
        """
        if not 0 <= step < total:
            raise ValueError(f"lr_at: step {step} is none of {total}, which are 0 to {total - 1}")
        if "lr" not in self.params:
            raise ValueError("lr_at: there is no parameter lr")
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

    def report(self, step: int, **metrics: float) -> None:
        """Report metrics after a step (a whole number from 0): anything that `float` takes.

        Raises Stopped when the trial is to stop, TypeError or ValueError for what is no metric.
        """
        whole = operator.index(step)
        if whole < 0:
            raise ValueError(f"report: a step is a whole number from 0, not {whole}")
        if not metrics:
            raise ValueError("report: no metric is given, such as report(step, loss=0.5)")
        values = {}
        for name, value in metrics.items():
            try:
                values[name] = float(value)
            except (TypeError, ValueError):
                message = f"report: {name} is no number but {type(value).__name__}"
                raise TypeError(message) from None
        print(json.dumps({"step": whole, **values}), file=self._reports, flush=True)
        if self._stopped:
            raise Stopped("the trial is to stop")


def main() -> None:
    """Train the trial of the arguments."""
    faulthandler.enable()
    task = json.loads(sys.argv[1])
    params = json.loads(Path(os.environ["LRSEARCH_PARAMS"]).read_text("utf-8"))
    workplace = Workplace(task["device"], task["folder"], tuple(task["allowed"]))
    with (
        Path(os.environ["LRSEARCH_METRICS"]).open("a", encoding="utf-8") as reports,
        importable(workplace),
    ):

        def say(kind: str, text: str) -> None:
            print(json.dumps(["lrsearch", kind, text]), file=reports, flush=True)

        try:
            loop = find_loop(task["loop"], workplace)
            found = source_hashes([task["loop"]], workplace).get(task["loop"])
            if found != task["hash"]:
                say("changed", task["loop"])
                sys.exit(1)
            trial = LoopTrial(task, params, reports)
            seed_everything(trial.seed)
            loop(trial)
        except Stopped:
            return
        except LrsearchError as error:
            say("raised", str(error))
            sys.exit(1)
        except Exception as error:
            if is_interrupt(error):
                raise
            traceback.print_exc()
            say("raised", f"{type(error).__name__}: {error}")
            sys.exit(1)


if __name__ == "__main__":
    main()
