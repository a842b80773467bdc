"""Other ways to take the supervised contrastive loss of N rows, each written as its users write it.

Every function takes raw rows [N, C], classes [N] (all foreground) and a temperature, and returns a scalar with a graph.
"""

import math

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint


def ours(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """This package, at full resolution."""
    from semicon_nb.losses import supervised_local_contrastive_loss

    return supervised_local_contrastive_loss(rows.T[None, None, :, :, None], labels[None, None, :, None], temperature)


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


def positives(unit: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean similarity of each row with its positives, from the sums of the classes."""
    sums = unit.new_zeros(int(labels.max()) + 1, unit.shape[1]).index_add(0, labels, unit)
    counts = torch.bincount(labels)
    return ((unit * sums[labels]).sum(1) - 1) / (temperature * (counts[labels] - 1))


def lean_dense(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The least that dense code can do: one matrix, its diagonal left out, logsumexp, positives from class sums."""
    unit = normalize(rows, dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-math.inf)
    return (similarity.logsumexp(1) - positives(unit, labels, temperature)).mean()


def row_chunks(rows: Tensor, labels: Tensor, temperature: float, chunk: int = 1024) -> Tensor:
    """The same, a thousand rows at a time, each chunk computed again in the backward pass."""
    unit = normalize(rows, dim=1)

    def part(start: int) -> Tensor:
        similarity = unit[start : start + chunk] @ unit.T / temperature
        index = torch.arange(len(similarity))
        return similarity.index_put((index, index + start), similarity.new_tensor(-math.inf)).logsumexp(1)

    logs = torch.cat([checkpoint(part, start, use_reentrant=False) for start in range(0, len(unit), chunk)])
    return (logs - positives(unit, labels, temperature)).mean()


class AttentionLogSums(Function):
    """Mean over rows of log sum over the others of exp(s), and its gradient, by two calls of attention."""

    @staticmethod
    def forward(ctx, unit, temperature):
        attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        rows = unit[None, None]
        pulled, everything = (x[0, 0] for x in attention(rows, rows, rows, scale=1 / temperature))
        logs = everything + torch.log1p(-torch.exp(1 / temperature - everything))
        ctx.save_for_backward(unit, pulled, everything, logs)
        ctx.temperature = temperature
        return logs.mean()

    @staticmethod
    def backward(ctx, upstream):
        unit, pulled, everything, logs = ctx.saved_tensors
        attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        ratio = torch.exp(everything - logs)[:, None]
        lowest = logs.min()
        values = unit * torch.exp(lowest - logs)[:, None]
        pushed = attention(unit[None, None], unit[None, None], values[None, None], scale=1 / ctx.temperature)[0][0, 0]
        itself = torch.exp(1 / ctx.temperature - logs)[:, None] * unit
        gradient = pulled * ratio - itself + pushed * torch.exp(everything - lowest)[:, None] - itself
        return gradient * (upstream / (len(unit) * ctx.temperature)), None


def two_attention_calls(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Log-sum-exp and its gradient out of two calls of scaled dot-product attention (flash attention on the CPU)."""
    unit = normalize(rows, dim=1)
    return AttentionLogSums.apply(unit, temperature) - positives(unit, labels, temperature).mean()


PEERS = {
    "exact tiles (this package)": ours,
    "two attention calls": two_attention_calls,
    "lean dense": lean_dense,
    "row chunks, checkpointed": row_chunks,
    "SupContrast's formula, dense": supcontrast,
    "pytorch-metric-learning": pytorch_metric_learning,
}

MATRICES = {"lean dense": 4, "SupContrast's formula, dense": 9, "pytorch-metric-learning": 12}
"""Roughly how many N x N float32 matrices each holds at its peak, to know what not to start."""
