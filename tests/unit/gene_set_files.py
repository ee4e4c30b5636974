"""Units of a map with genes, and files about genes, plain or packed."""

import gzip
import zipfile

import pandas as pd


def units(genes, **columns):
    return pd.DataFrame({"gene": genes} | columns, index=[f"u{i:03d}" for i in range(len(genes))])


def write(path, text):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("table.tsv", text)
    else:
        path.write_text(text)
    return path
