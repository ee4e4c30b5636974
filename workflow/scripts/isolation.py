"""Nothing of Snakemake's own environment in a rule's environment; `job` calls this before a driver imports anything."""

import os
import re
import sys
from pathlib import Path

DEPLOYED = re.compile(r"[0-9a-f]{32}_?")
"""Name of the folder of an environment that Snakemake made."""


def isolate() -> str:
    """Take Snakemake's packages off `sys.path` where a rule has its own environment, and say where it runs.

    Snakemake appends its own site-packages for the object `snakemake`, so a package that an environment lacks would
    silently come from there, built for another Python or in another version.

    Returns
    -------
    a few words on the environment, for the log

    Raises
    ------
    SystemExit : Snakemake activated an environment, but this is not its Python
    """
    prefix = Path(sys.prefix).resolve()
    deployed = Path(os.environ.get("CONDA_PREFIX", ""))
    if DEPLOYED.fullmatch(deployed.name) and deployed.resolve() != prefix:
        sys.exit(
            f"the environment of this rule is {deployed}, but its Python is not: {sys.executable} runs instead. "
            "Delete that folder and run again, so that Snakemake makes it anew"
        )
    snakemake = sys.modules.get("snakemake")
    if snakemake is None or not snakemake.__file__:
        return "without Snakemake"
    foreign = Path(snakemake.__file__).resolve().parents[1]
    if foreign.is_relative_to(prefix):
        return "Snakemake's own environment"
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != foreign]
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None) or ""
        if not name.startswith("snakemake") and origin and Path(origin).resolve().is_relative_to(foreign):
            del sys.modules[name]
    return "the rule's environment, nothing of Snakemake's in it"
