"""What holds for every test."""

import torch

# As workers run: several threads gain nothing on models this small, and fight over a busy machine.
torch.set_num_threads(1)
