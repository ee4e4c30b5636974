"""Several processes that train one network, each on a GPU of its own; `torchrun` starts them.

Each has its part of every batch. Vectors are gathered before heads and losses see them, so that a batch is compared as
a whole, batch normalisation included, whatever the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import distributed
from torch.distributed.nn.functional import all_gather


def rank() -> int:
    """Number of this process, 0 where it is the only one."""
    return int(os.environ["RANK"]) if distributed.is_torchelastic_launched() else 0


def processes() -> int:
    """How many there are."""
    return int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1


def gather(values: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, in the order of their numbers; gradients flow back to the process that a row is of."""
    if processes() == 1:
        return values
    if values.is_floating_point():
        return torch.cat(all_gather(values.contiguous()))
    # Not every backend knows bool.
    return torch.cat(all_gather(values.to(torch.int64).contiguous())).to(values.dtype)


def average_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the mean of the gradients of all; all must have them for the same weights."""
    if processes() == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    waiting = [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]
    for work, gradient in zip(waiting, gradients, strict=True):
        work.wait()
        gradient.div_(processes())


def mean_of_processes(values: torch.Tensor) -> torch.Tensor:
    """Mean over all processes, of what each measured on its part of a batch."""
    values = values.detach().clone()
    if processes() > 1:
        distributed.all_reduce(values)
        values /= processes()
    return values


def any_process(true: bool, device: torch.device) -> bool:
    """Whether it is true in one of the processes."""
    if processes() == 1:
        return true
    found = torch.tensor(int(true), device=device)
    distributed.all_reduce(found)
    return bool(found)
