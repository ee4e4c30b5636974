"""Training in several processes on one machine, which torchrun starts: see `subcell.model.running.processes`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from subcell.errors import SubcellError
from subcell.model.loop.training import train
from subcell.model.running.processes import rank
from subcell.model.running.stopping import SIGNALS, handled

LIBRARY = Path(__file__).resolve().parents[3]
TORCHRUN_HANDS_ON = ",".join(number.name for number in SIGNALS)
TO_SAVE_S = 600
"""How long torchrun lets processes end their step and save when it is asked to end; it would kill them after 30 s."""
MISTAKE = "subcell: "
"""What a process puts before a line that the user can act on."""


def run_processes(count: int, arguments: dict[str, Any], *, log: Callable[[str], None]) -> None:
    """Train with torchrun on this machine.

    Parameters
    ----------
    count : processes, one a GPU
    arguments : of `subcell.model.loop.training.train`, plain values
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
                   "-m", "subcell.model.loop.torchrun", str(path)]
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
