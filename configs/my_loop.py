"""A training loop of one's own, in PyTorch, that lrsearch calls once a trial."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy


def train(trial):
    """Train a small network on handwritten digits by the trial's parameters."""
    lr, batch_size = trial.params["lr"], trial.params["batch_size"]
    epochs = trial.params["epochs"]
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32, device=trial.device)
    y = torch.tensor(labels, device=trial.device)
    held_out = torch.arange(len(x), device=trial.device) % 5 == 0
    x_train, y_train, x_test, y_test = x[~held_out], y[~held_out], x[held_out], y[held_out]

    # The global generators are seeded with trial.seed already.
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for epoch in range(1, epochs + 1):
        for index in torch.randperm(len(x_train)).to(trial.device).split(batch_size):
            optimizer.zero_grad()
            cross_entropy(model(x_train[index]), y_train[index]).backward()
            optimizer.step()
        with torch.no_grad():
            outputs = model(x_test)
        accuracy = (outputs.argmax(dim=1) == y_test).float().mean()
        trial.report(epoch, loss=cross_entropy(outputs, y_test), accuracy=accuracy)
