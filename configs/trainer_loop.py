"""A Hugging Face Trainer script of one's own, that lrsearch calls once a trial.

It learns which module of the standard library a line of source comes from: nothing is downloaded.
The lines marked `# lrsearch` are all that such a script has to change.
"""

import re
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,  # lrsearch
    TrainingArguments,
)

MODULES = ("argparse", "difflib", "inspect", "statistics", "subprocess", "tarfile", "typing")
LINES = 400  # of each module
LENGTH = 16  # in tokens


def load():
    """Lines as token ids with their module's number, for training and for evaluation, and the
    size of the vocabulary: 0 is padding, 1 a word that is rare in training."""
    parts = [[], []]
    for label, name in enumerate(MODULES):
        source = Path(find_spec(name).origin).read_text("utf-8")
        tokens = [tuple(re.findall(r"\w+|[^\w\s]", line)) for line in source.splitlines()]
        lines = [line for line in dict.fromkeys(tokens) if len(line) >= 5]
        for number, line in enumerate(lines[:: max(1, len(lines) // LINES)][:LINES]):
            parts[number % 5 == 0].append((line[:LENGTH], label))
    counts = Counter(word for line, _ in parts[0] for word in line)
    words = sorted(word for word in counts if counts[word] > 1)
    ids = {word: number for number, word in enumerate(words, start=2)}

    def encode(line, label):
        row = [ids.get(word, 1) for word in line] + [0] * (LENGTH - len(line))
        return {"input_ids": row, "attention_mask": [int(i > 0) for i in row], "labels": label}

    train, evaluation = ([encode(*each) for each in part] for part in parts)
    return train, evaluation, len(words) + 2


def accuracy(outputs):
    """The metrics of an evaluation."""
    return {"accuracy": (outputs.predictions.argmax(axis=1) == outputs.label_ids).mean()}


class Report(TrainerCallback):  # lrsearch
    """Reports each evaluation."""

    def __init__(self, trial):  # lrsearch
        self.trial = trial  # lrsearch

    def on_evaluate(self, args, state, control, metrics, **kwargs):  # lrsearch
        """Report its loss and accuracy; a trial that is to stop ends here."""
        measured = {name: metrics[name] for name in ("eval_loss", "eval_accuracy")}  # lrsearch
        self.trial.report(state.global_step, **measured)  # lrsearch


def train(trial):  # lrsearch
    """Train a small BERT from scratch by the trial's parameters."""
    train_lines, evaluation_lines, vocabulary = load()
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        num_labels=len(MODULES),
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=trial.seed,  # lrsearch
            use_cpu=trial.device == "cpu",  # lrsearch
            **trial.params,  # lrsearch
        )
        Trainer(
            model=BertForSequenceClassification(config),
            args=arguments,
            train_dataset=train_lines,
            eval_dataset=evaluation_lines,
            compute_metrics=accuracy,
            callbacks=[Report(trial)],  # lrsearch
        ).train()
