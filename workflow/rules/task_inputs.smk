"""What the benchmarks of tasks.smk are scored from. No rules here."""


def simulated_truth(dataset):
    """What is true of a simulated dataset, where it is one."""
    return {"truth": f"<results>/{dataset}/truth"} if dataset in simulated() else {}


def expression_of(dataset):
    """Expression of cell lines: the user's, or what a simulated dataset has."""
    given = config["tasks"]["transcriptome"]["expression"]
    return {"expression": given} if given else simulated_truth(dataset)


def pairs_of(dataset):
    """Related proteins: the user's, or what a simulated dataset has."""
    given = [entry["file"] for entry in config["tasks"]["interactions"]["pairs"]]
    return {"files": given} if given else simulated_truth(dataset)


def drawn_truth(wildcards):
    """Input function: images and masks of a simulated dataset, whose nucleoli and centrosomes are known."""
    if wildcards.dataset not in simulated():
        return {}
    return {
        "images": collect("<results>/{dataset}/images/{shard}", shard=shards(wildcards.dataset), **wildcards),
        "masks": collect(
            "<results>/{dataset}/masks/{shard}.zarr", shard=shards(wildcards.dataset), **wildcards
        ),
    }


def home_of(dataset):
    """Dataset whose cells classifiers are trained on, to be scored on this one; None where there is no other."""
    asked = config["tasks"]["external"]["home"]
    trained = [name for model in trained_models() for name in config["models"][model]["train_on"]]
    home = asked or next(iter(trained), None)
    return home if home != dataset else None


def home_cells(dataset):
    """Input of `external`: vectors of the home dataset by the same model."""
    home = home_of(dataset)
    return {"home_cells": f"<results>/{home}/{{model}}/cells.h5ad"} if home else {}


EXTRA_INPUTS["transcriptome"] = expression_of
EXTRA_INPUTS["interactions"] = pairs_of
