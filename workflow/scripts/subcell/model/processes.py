"""Several processes that train one network, each on a GPU of its own: torchrun starts them, on one machine.

Each has its part of every batch. Vectors are gathered before heads and losses see them, so that a batch is compared as
a whole, batch normalisation included, whatever the number of processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.nn.functional import all_gather

from subcell.errors import SubcellError
from subcell.model.stopping import SIGNALS, handled

LIBRARY = Path(__file__).resolve().parents[2]
TORCHRUN_HANDS_ON = ",".join(number.name for number in SIGNALS)
TO_SAVE_S = 600
"""How long torchrun lets processes end their step and save when it is asked to end; it would kill them after 30 s."""
MISTAKE = "subcell: "
"""What a process puts before a line that the user can act on."""


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


def run_processes(count: int, arguments: dict[str, Any], *, log: Callable[[str], None]) -> None:
    """Train with torchrun on this machine.

    Parameters
    ----------
    count : processes, one a GPU
    arguments : of `subcell.model.training.train`, plain values
    log : called with each line that the processes say

    Raises
    ------
    SubcellError : training ended with a line that the user can act on, or a process died
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arguments.json"
        path.write_text(json.dumps(arguments))
        # fmt: off
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
                   f"--signals-to-handle={TORCHRUN_HANDS_ON}", f"--shutdown-timeout={TO_SAVE_S}",
                   "-m", "subcell.model.processes", str(path)]
        # fmt: on
        search = os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": str(arguments["threads"])}
        said = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as torchrun:
            assert torchrun.stdout is not None
            # torchrun hands it on, each process saves and says so, and the lines end.
            with handled(torchrun.terminate):
                try:
                    for line in torchrun.stdout:
                        log(line.rstrip())
                        said.append(line.rstrip())
                finally:
                    if torchrun.poll() is None:
                        torchrun.terminate()
    if torchrun.returncode:
        mistakes = [line.removeprefix(MISTAKE) for line in said if line.startswith(MISTAKE)]
        raise SubcellError(
            mistakes[0] if mistakes else f"one of {count} training processes died; run again, it goes on where it saved"
        )


def main() -> None:
    """One of the processes."""
    from subcell.model.training import train

    arguments = json.loads(Path(sys.argv[1]).read_text())
    try:
        train(**arguments, log=(lambda line: print(line, flush=True)) if rank() == 0 else None)
    except SubcellError as error:
        print(f"{MISTAKE}{error}", flush=True)
        sys.exit(1)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


if __name__ == "__main__":
    main()
