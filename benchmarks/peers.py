"""The other ways to train a list of points, as `throughput.py` times them: one process each.

    python benchmarks/peers.py JOB.json

Every loop has the model, the initial weights, the splits and (but for the DataLoader's) the
batches of lrsearch, and evaluates after each epoch. It writes what it measured to the job's
`result`: {"times": [[...], ...], "values": [[lr, momentum, accuracy], ...]}. The times, one list
for each process that trains, are `time.time()` when it begins its first trial, imports and set-up
done, and at the end of each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsearch.train.models.build import build_model
from lrsearch.train.randomness import batches, trial_seeds
from lrsearch.trial import Workplace

Report = Callable[[float, int], None]

CHUNK = 512
"""Samples of a text in a forward pass of an evaluation; of others all are seen at once."""


@dataclass(frozen=True)
class Job:
    """One process' work: the full grid of `lrs` and `momenta`, or of it `points`, its share.

    `arrays` is a file of x_train, y_train, x_validation and y_validation; `evaluations` are the
    steps after which a trial is evaluated; `threads` is None for torch's default. So many
    processes begin to train `together`: what a few trials took is to tell what many would.
    """

    loop: str
    device: str
    threads: int | None
    arrays: str
    model: dict[str, Any]
    outputs: int
    batch_size: int
    evaluations: list[int]
    seed: int
    lrs: list[float]
    momenta: list[float]
    points: list[list[float]]
    cores: int
    together: int
    storage: str
    result: str


@dataclass(frozen=True, eq=False)
class Data:
    """The splits on the device."""

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor


def load(job: Job, device: str) -> Data:
    with np.load(job.arrays) as arrays:
        return Data(*(torch.from_numpy(arrays[name]).to(device) for name in Data.__annotations__))


def build(job: Job, shape: tuple[int, ...]) -> nn.Module:
    """The model with the initial weights that lrsearch gives it."""
    torch.manual_seed(trial_seeds(job.seed).weights)
    place = Workplace(folder=str(Path(__file__).parent), allowed=("workloads",))
    return build_model(job.model, shape, job.outputs, place).to(job.device)


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    model.eval()
    size = CHUNK if data.y_validation.dim() > 1 else len(data.y_validation)
    parts = zip(data.x_validation.split(size), data.y_validation.split(size), strict=True)
    right = torch.stack([(model(x).argmax(-1) == y).sum() for x, y in parts]).sum()
    return float(right.item()) / data.y_validation.numel()


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of a batch, of each character of a text."""
    outputs = model(x)
    if outputs.dim() > 2:
        outputs, y = outputs.flatten(0, -2), y.flatten()
    return F.cross_entropy(outputs, y)


def train(
    job: Job, data: Data, lr: float, momentum: float, report: Report, *, fused: bool | None = None
) -> float:
    """One trial with its data in memory; the accuracy at its end. `fused` is the optimizer's
    implementation, None the one a person gets without asking."""
    model = build(job, tuple(data.x_train.shape[1:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, fused=fused)
    order = batches(
        len(data.x_train), job.batch_size, trial_seeds(job.seed).order, data.x_train.device
    )
    step, reached = 0, 0.0
    for epoch, end in enumerate(job.evaluations):
        model.train()
        for index in islice(order, end - step):
            x, y = data.x_train.index_select(0, index), data.y_train.index_select(0, index)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            torch.autograd.backward(loss)
            optimizer.step()
        step = end
        reached = accuracy(model, data)
        report(reached, epoch)
    return reached


def train_with_loader(job: Job, data: Data, lr: float, momentum: float, report: Report) -> float:
    """The same as Optuna's PyTorch example writes it: data come from a DataLoader on the CPU, in
    an order of its own and with a short last batch. It ends after as many steps as the others."""
    from torch.utils.data import DataLoader, TensorDataset

    model = build(job, tuple(data.x_train.shape[1:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    training = TensorDataset(data.x_train, data.y_train)
    validation = TensorDataset(data.x_validation, data.y_validation)
    train_loader = DataLoader(training, batch_size=job.batch_size, shuffle=True)
    valid_loader = DataLoader(validation, batch_size=job.batch_size, shuffle=True)
    step, reached = 0, 0.0
    for epoch in range(len(job.evaluations)):
        model.train()
        for batch, target in train_loader:
            if step == job.evaluations[-1]:
                break
            step += 1
            x, y = batch.to(job.device), target.to(job.device)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            torch.autograd.backward(loss)
            optimizer.step()
        model.eval()
        right = 0.0
        with torch.no_grad():
            for batch, target in valid_loader:
                x, y = batch.to(job.device), target.to(job.device)
                right += model(x).argmax(-1).eq(y).sum().item()
        reached = right / data.y_validation.numel()
        report(reached, epoch)
    return reached


def train_with_graph(job: Job, data: Data, lr: float, momentum: float, report: Report) -> float:
    """The same with each step one replay of a CUDA graph, captured anew for every trial: rate
    and momentum are constants in it."""
    model = build(job, tuple(data.x_train.shape[1:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    index = torch.arange(job.batch_size, device=job.device)

    def step() -> None:
        x, y = data.x_train.index_select(0, index), data.y_train.index_select(0, index)
        loss = loss_of(model, x, y)
        torch.autograd.backward(loss)
        optimizer.step()

    # The steps before a capture are real ones, so what they changed is put back: the weights,
    # the buffers, and the momentum, whose zeros make the next step the first.
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream().wait_stream(aside)
    # Without gradients: the capture allocates them, and each replay writes them afresh.
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    model.load_state_dict(initial)
    for state in optimizer.state.values():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"].zero_()

    order = batches(len(data.x_train), job.batch_size, trial_seeds(job.seed).order, index.device)
    done, reached = 0, 0.0
    for epoch, end in enumerate(job.evaluations):
        for batch in islice(order, end - done):
            index.copy_(batch)
            graph.replay()
        done = end
        reached = accuracy(model, data)  # In eval mode, of which the graph knows nothing.
        report(reached, epoch)
    return reached


Measured = tuple[list[list[float]], list[list[float]]]
"""The times and values of a result."""


def begin(job: Job) -> float:
    """The time, once all processes that begin together have come so far."""
    Path(f"{job.result}.ready").touch()
    patience = time.monotonic() + 120
    while len(list(Path(job.result).parent.glob("*.ready"))) < job.together:
        if time.monotonic() > patience:
            raise RuntimeError("another process of this peer does not get ready")
        time.sleep(0.005)
    return time.time()


def by_hand(job: Job) -> Measured:
    """A careful person's script: everything in memory, the fastest optimizer, no framework."""
    data = load(job, job.device)
    times, values = [begin(job)], []
    for lr, momentum in job.points:
        reached = train(job, data, lr, momentum, lambda *_: None, fused=True)
        times.append(time.time())
        values.append([lr, momentum, reached])
    return [times], values


def with_optuna(job: Job) -> Measured:
    """A study over the grid. Where the job has a storage, its processes share the study."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    loops = {"optuna": train, "optuna-loader": train_with_loader, "optuna-graph": train_with_graph}
    loop = loops[job.loop]
    data = load(job, "cpu" if job.loop == "optuna-loader" else job.device)
    times: list[float] = []
    values: list[list[float]] = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", min(job.lrs), max(job.lrs), log=True)
        momentum = trial.suggest_float("momentum", min(job.momenta), max(job.momenta))

        def report(reached: float, epoch: int) -> None:
            trial.report(reached, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        reached = loop(job, data, lr, momentum, report)
        times.append(time.time())
        values.append([lr, momentum, reached])
        return reached

    study = optuna.create_study(
        study_name="throughput",
        direction="maximize",
        storage=JournalStorage(JournalFileBackend(job.storage)) if job.storage else None,
        load_if_exists=True,
        # The seed orders the grid: processes with one order never train a point twice.
        sampler=optuna.samplers.GridSampler({"lr": job.lrs, "momentum": job.momenta}, seed=0),
        pruner=optuna.pruners.NopPruner(),
    )
    whole = len(job.lrs) * len(job.momenta)
    # Without it a process that is done trains again what the other one has in hand.
    stop = MaxTrialsCallback(whole, states=(TrialState.COMPLETE, TrialState.RUNNING))
    times.append(begin(job))
    study.optimize(objective, callbacks=[stop] if job.storage else None)
    return [times], values


def with_ray(job: Job) -> Measured:
    """Ray Tune over the grid, one CPU a trial, workers kept between trials."""
    import ray
    from ray import tune

    def trainable(config: dict[str, float], data: Data) -> None:
        torch.set_num_threads(1)
        import_optimizers()
        begun = time.time()

        def report(reached: float, epoch: int) -> None:
            tune.report({"accuracy": reached, "begun": begun, "ended": time.time()})

        train(job, data, config["lr"], config["momentum"], report, fused=True)

    # A folder of its own: the path of a socket has room for a hundred characters only.
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=job.cores, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, data=load(job, "cpu")), {"cpu": 1}),
            param_space={
                "lr": tune.grid_search(job.lrs),
                "momentum": tune.grid_search(job.momenta),
            },
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(Path(job.result).parent), verbose=0),
        )
        results = tuner.fit()
        if results.num_errors:
            raise RuntimeError(f"{results.num_errors} trials failed: {results.errors[0]}")
        found = sorted((result.metrics for result in results), key=lambda each: each["ended"])
        ray.shutdown()
    values = [
        [each["config"]["lr"], each["config"]["momentum"], each["accuracy"]] for each in found
    ]
    times: dict[int, list[float]] = {}
    for each in found:
        times.setdefault(each["pid"], [each["begun"]]).append(each["ended"])
    return list(times.values()), values


def import_optimizers() -> None:
    """The first optimizer of a process imports much of torch: that is start-up, not training."""
    torch.optim.SGD([torch.zeros(1)], lr=1.0)


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    import_optimizers()
    loops = {"hand": by_hand, "ray": with_ray}
    times, values = loops.get(job.loop, with_optuna)(job)
    Path(job.result).write_text(json.dumps({"times": times, "values": values}))


if __name__ == "__main__":
    main()
