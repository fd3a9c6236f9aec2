"""A training outside lrsearch once more: whether the same trial comes to the same result."""

from __future__ import annotations

from lrsearch import pulse
from lrsearch.executors.port import Died, Executor, Finished, Raised
from lrsearch.store import History, Run
from lrsearch.trial import Cohort, Ended, Measured, Objective, Outcome, Result, Started, Trial
from lrsearch.tuner.silence import Cut, Subject, Watch
from lrsearch.tuner.watcher import Watcher

CHEAP = 0.1
"""Share of the steps trained in a search that one more trial may take."""


def is_due(history: History, trial: Trial, *, retry_failed: bool = False) -> bool:
    """Whether a completed trial is to be trained again: it has not been, or failed at that and
    `retry_failed` is set; and it is cheap, by the steps that the search's trials reported: seconds
    depend on what else the machine does, and fresh trainings come later, so that the same search
    would train now more and now less."""
    own = [each for number, each in history.results.items() if number not in history.apart]
    spent = sum(max(1, each.steps) for each in own)
    done = history.repeated.get(trial.number)
    again = done is None or (retry_failed and done.outcome is Outcome.FAILED)
    return again and max(1, history.results[trial.number].steps) < CHEAP * spent


def repeat(
    cohort: Cohort,
    of: int,
    *,
    function: str,
    executor: Executor,
    run: Run,
    watcher: Watcher,
    objective: Objective,
    params: dict[str, object],
) -> None:
    """Train the one trial of `cohort` by the job `function` and journal it as a repetition of the
    trial numbered `of`. A repetition that cannot be trained, since files have changed, say, is only
    noted: the search is over, and loses nothing by it."""
    (trial,) = cohort.trials
    watcher.note(f"trial {trial.number} is trial {of} again: does the training repeat itself?")
    length = max(1, run.history.results[of].steps)

    def end(result: Result, curve: dict[str, list[float]]) -> None:
        run.repeated(of, result, curve)
        value, seconds = result.value(objective), result.seconds
        watcher.ended(trial.number, params, result.outcome, value, seconds, result.reason)

    executor.submit(function, cohort)
    subject = Subject(f"trial {trial.number}", timeout=cohort.timeout)
    watch = Watch(executor, watcher.note, lambda _: subject)
    before, over = run.history.repeated.get(of), False
    while not over:
        if pulse.asked():  # It is trained again at the next search.
            raise KeyboardInterrupt
        for handle, event in watch.events():
            if isinstance(event, Started):
                watcher.started(trial.number, params)
            elif isinstance(event, Measured):
                step, metrics = event.measurement.step, event.measurement.metrics
                share = min(1.0, step / length)
                watcher.measured(trial.number, share, metrics.get(objective.metric))
            elif isinstance(event, Ended):
                end(event.result, dict(event.curve))
            elif isinstance(event, Raised):
                if event.error is None:
                    raise event.cause
                watcher.note(f"it was not trained again: {event.error}")
            elif isinstance(event, Died) and run.history.repeated.get(of) is before:
                lost = f"the worker process was lost: {event.reason}"
                cut = watch.cut.get(handle, Cut(lost, 0.0, 0))
                failed = Result(
                    Outcome.FAILED,
                    cut.step,
                    0.0,
                    cut.seconds,
                    reason=cut.reason,
                    traceback=event.output,
                )
                end(failed, {})
            over = over or isinstance(event, Finished | Raised | Died)
