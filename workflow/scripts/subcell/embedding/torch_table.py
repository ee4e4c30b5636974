"""Tables of cells that torch saved with their vectors: `all_features.pth` of SubCell's analyses and of CHAMMI-75's HPAv23."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.embedding.store import create_vectors
from subcell.errors import SubcellError

SUFFIXES = (".pth", ".pt")


def torch_table_to_h5ad(path: str | Path, out_path: str | Path) -> None:
    """Write what a torch file holds as a file of vectors.

    Parameters
    ----------
    path : a pair of a table, column -> list of values, and a tensor (cells, D). Nothing in it is run: a pickled pandas table,
        as those projects write it, has to be made plain first by somebody who trusts it, and the message says how
    out_path : AnnData file to write; cells are numbered, columns keep their names

    Raises
    ------
    SubcellError : the file cannot be read so
    """
    from subcell.model.weights.released import plain_content

    try:
        held = plain_content(path)
    except MemoryError:
        raise
    except Exception as problem:  # each kind of broken file has an error of its own
        first = str(problem).strip().partition("\n")[0] or type(problem).__name__
        raise SubcellError(
            f"{path}: holds more than plain values, which is not opened unseen ({first}). If you trust "
            f"it: python -c \"import torch; t, x = torch.load('{Path(path).name}', weights_only=False); "
            "torch.save((dict(t.astype(str).to_dict('list')), torch.as_tensor(x)), 'plain.pth')\", then import plain.pth"
        ) from None
    table, vectors = _pair(held, path)
    try:
        obs = pd.DataFrame({str(name): list(values) for name, values in table.items()})
    except (TypeError, ValueError) as problem:
        raise SubcellError(f"{path}: its table has columns of different lengths ({problem})") from None
    if len(obs) != len(vectors):
        raise SubcellError(f"{path}: {len(obs)} rows in the table, {len(vectors)} vectors")
    # Tables that were made plain by `astype(str)` say "nan" where there is nothing.
    obs = obs.replace({"nan": None, "None": None})
    obs.index = pd.Index([str(number) for number in range(len(obs))], name="cell_id")
    names = [f"vector_{number}" for number in range(vectors.shape[1])]
    with create_vectors(out_path, obs.drop(columns="cell_id", errors="ignore"), features=names, uns={}) as file:
        file.write("X", 0, vectors)


def _pair(held: Any, path: str | Path) -> tuple[dict[Any, Any], np.ndarray[Any, np.dtype[np.float32]]]:
    import torch

    if isinstance(held, list | tuple) and len(held) == 2:
        table, vectors = held
        if isinstance(table, dict) and isinstance(vectors, torch.Tensor) and vectors.ndim == 2:
            return table, vectors.float().numpy()
    raise SubcellError(f"{path}: expected a table (column: values) and a tensor of vectors (cells, numbers)")
