"""Other ways to take the supervised contrastive loss of N rows, each written as its users write it.

Every function takes raw rows [N, C], classes [N] (all foreground) and a temperature, and returns a scalar with a graph.
"""

from functools import partial

import torch
from gpu.contenders import attention, dense, ours, row_chunks
from torch import Tensor
from torch.nn.functional import normalize


def pytorch_metric_learning(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SupConLoss of pytorch-metric-learning."""
    from pytorch_metric_learning.losses import SupConLoss

    return SupConLoss(temperature=temperature)(rows, labels)


def supcontrast(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The formula as SupContrast (Khosla et al. 2020) writes it: masks, maximum, exponential, logarithm, all N x N."""
    unit = normalize(rows, dim=1)
    mask = (labels[:, None] == labels[None]).float()
    logits = unit @ unit.T / temperature
    logits = logits - logits.max(1, keepdim=True).values.detach()
    others = torch.ones_like(mask).fill_diagonal_(0)
    mask = mask * others
    exponentials = torch.exp(logits) * others
    log_share = logits - torch.log(exponentials.sum(1, keepdim=True))
    return -((mask * log_share).sum(1) / mask.sum(1)).mean()


PEERS = {
    "exact tiles (this package)": ours,
    "two attention calls": partial(attention, kernel="cpu", dtype=torch.float32),
    "lean dense": dense,
    "row chunks, checkpointed": row_chunks,
    "SupContrast's formula, dense": supcontrast,
    "pytorch-metric-learning": pytorch_metric_learning,
}

MATRICES = {"lean dense": 4, "SupContrast's formula, dense": 9, "pytorch-metric-learning": 12}
"""Roughly how many N x N float32 matrices each holds at its peak, to know what not to start."""
