"""A training script that knows nothing of lrsearch: softmax regression on handwritten digits.

It takes its settings from the command line and prints a line of JSON an epoch.
"""

import argparse
import json

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--batch-size", type=int, required=True)
parser.add_argument("--weight-decay", type=float, default=0.0)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

x, y = load_digits(return_X_y=True)
x = x / 16.0
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y)
generator = np.random.default_rng(args.seed)
weights = generator.normal(scale=0.01, size=(64, 10))
bias = np.zeros(10)


def predict(inputs):
    """Probabilities of the classes, [samples, 10]."""
    scores = inputs @ weights + bias
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


for epoch in range(1, args.epochs + 1):
    order = generator.permutation(len(x_train))
    for start in range(0, len(order), args.batch_size):
        index = order[start : start + args.batch_size]
        error = predict(x_train[index])
        error[np.arange(len(index)), y_train[index]] -= 1.0
        gradient = x_train[index].T @ error / len(index)
        weights -= args.lr * (gradient + args.weight_decay * weights)
        bias -= args.lr * error.mean(axis=0)
    probabilities = predict(x_test)
    loss = -np.log(np.maximum(probabilities[np.arange(len(y_test)), y_test], 1e-12)).mean()
    accuracy = (probabilities.argmax(axis=1) == y_test).mean()
    print(json.dumps({"step": epoch, "loss": loss, "accuracy": accuracy}))
