"""A Lightning script of one's own, that lrsearch calls once a trial.

The lines marked `# lrsearch` are all that such a script has to change.
"""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class Digits(lightning.LightningModule):
    """A small network for handwritten digits."""

    def __init__(self, lr, optimizer):
        super().__init__()
        self.lr, self.optimizer = lr, optimizer
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        """The loss of a batch."""
        x, y = batch
        return cross_entropy(self.network(x), y)

    def validation_step(self, batch, _):
        """Log the metrics of a batch; Lightning averages them over the epoch."""
        x, y = batch
        outputs = self.network(x)
        self.log("loss", cross_entropy(outputs, y))
        self.log("accuracy", (outputs.argmax(dim=1) == y).float().mean())

    def configure_optimizers(self):
        """The optimizer that is asked for, by torch's name."""
        return getattr(torch.optim, self.optimizer)(self.parameters(), lr=self.lr)


class Report(lightning.Callback):  # lrsearch
    """Reports each validation."""

    def __init__(self, trial):  # lrsearch
        self.trial = trial  # lrsearch

    def on_validation_epoch_end(self, trainer, module):  # lrsearch
        """Report all that is logged; a trial that is to stop ends here."""
        if not trainer.sanity_checking:  # lrsearch
            self.trial.report(trainer.global_step, **trainer.callback_metrics)  # lrsearch


def train(trial):  # lrsearch
    """Train the network by the trial's parameters."""
    params = trial.params  # lrsearch
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(labels)
    held_out = torch.arange(len(x)) % 5 == 0
    training = TensorDataset(x[~held_out], y[~held_out])
    validation = TensorDataset(x[held_out], y[held_out])
    accelerator, _, index = trial.device.partition(":")  # lrsearch
    trainer = lightning.Trainer(
        max_epochs=params["epochs"],  # lrsearch
        accelerator=accelerator,  # lrsearch
        devices=[int(index)] if index else 1,  # lrsearch
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Report(trial)],  # lrsearch
    )
    trainer.fit(
        # The global generators are seeded with trial.seed already: no seed_everything.
        Digits(params["lr"], params["optimizer"]),  # lrsearch
        DataLoader(training, batch_size=params["batch_size"], shuffle=True),  # lrsearch
        DataLoader(validation, batch_size=len(validation)),
    )
