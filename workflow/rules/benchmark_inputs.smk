"""What the benchmarks ask of the configuration: who scores what, from which files. No rules here."""

from subcell.config.suite import CONTROLS, Task, scored_models


def simulated_truth(dataset):
    """What is true of a simulated dataset, where it is one."""
    return {"truth": f"<results>/{dataset}/truth"} if dataset in simulated() else {}


def expression_of(dataset):
    """Expression of cell lines: the user's, or what a simulated dataset has."""
    given = config["tasks"]["transcriptome"]["expression"]
    return {"expression": given} if given else simulated_truth(dataset)


def pairs_of(dataset):
    """Related proteins: the user's, or what a simulated dataset has."""
    given = config["tasks"]["interactions"]["pairs"]
    beside = [entry[key] for entry in given for key in ("aliases", "baits") if entry[key]]
    if not given:
        return simulated_truth(dataset)
    return {"files": [entry["file"] for entry in given], "beside": beside}


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


@cache
def home_of(dataset):
    """Dataset whose cells classifiers are trained on, to be scored on this one; None where there is no other."""
    asked = config["tasks"]["external"]["home"]
    trained = [name for model in trained_models() for name in config["models"][model]["train_on"]]
    home = asked or next(iter(trained), None)
    return home if home != dataset else None


def external_inputs(wildcards):
    """Input function: what `external` reads beside the vectors of a dataset, where there is a home."""
    home = home_of(wildcards.dataset)
    if not home:
        return {}
    return {
        "home_cells": f"<results>/{home}/{scored_model(wildcards)}/cells.h5ad",
        **seen_inputs(wildcards.dataset),
        **listed_inputs(wildcards.dataset),
        **{f"home_{name}": lists for name, lists in listed_inputs(home).items()},
    }


EXTRA_INPUTS = {"transcriptome": expression_of, "interactions": pairs_of}
"""Benchmark -> function of a dataset that gives its inputs beside `cells`: name -> path, keywords of its `run`."""


def asked_benchmarks(dataset):
    """Benchmarks that a dataset is to be scored on."""
    own = config["datasets"][dataset]["benchmarks"]
    return config["benchmarks"] if own is None else own


@cache
def scored_pairs(benchmark):
    """(dataset, model) that a benchmark scores."""
    kinds = {name: settings["kind"] for name, settings in config["models"].items()}
    able = scored_models(SUITE.get(benchmark, Task()), kinds)
    return [
        (dataset, model)
        for dataset, model in pairs()
        if model in able and benchmark in asked_benchmarks(dataset)
    ]


def controlled(benchmark):
    """Datasets on which a benchmark has control rows."""
    if not config["scoring"]["controls"] or not SUITE.get(benchmark, Task()).controls:
        return []
    return list(dict.fromkeys(dataset for dataset, _ in scored_pairs(benchmark)))


def gpus_to_control(wildcards):
    """GPUs for the controls of a benchmark: those that train classifiers ask for one."""
    return min(config["gpus"], int(SUITE.get(wildcards.benchmark, Task()).trains))


def first_model(wildcards):
    """A model of a dataset whose table of cells is used where any would do."""
    return next(model for dataset, model in pairs() if dataset == wildcards.dataset)


def scored_model(wildcards):
    """The model of a score; of controls, which have none, the first of the dataset."""
    return dict(wildcards.items()).get("model") or first_model(wildcards)


def task_inputs(wildcards):
    """Input function: what a benchmark's controls are scored from."""
    cells = f"<results>/{wildcards.dataset}/{first_model(wildcards)}/cells.h5ad"
    more = EXTRA_INPUTS.get(wildcards.benchmark, lambda dataset: {})(wildcards.dataset)
    if wildcards.benchmark == "localization":
        more |= localization_inputs(wildcards)
    if wildcards.benchmark == "external":
        more |= external_inputs(wildcards)
    return {"cells": cells, **more}


def task_settings(benchmark, dataset=None):
    """Settings of a benchmark: those of all, and its own but for files, which are inputs."""
    own = config["own_tasks"].get(benchmark, {}).get("settings", {})
    ours = config["tasks"].get(benchmark, {})
    return (
        config["scoring"]
        | {key: value for key, value in ours.items() if key not in ("expression", "home")}
        | ({"home": home_of(dataset) or ""} if benchmark == "external" else {})
        | own
    )


def localization_inputs(wildcards):
    """Input function: what localization reads beside the vectors of a dataset."""
    wanted = config["scoring"]["test_sets"].get(wildcards.dataset, {})
    more = listed_inputs(wildcards.dataset)
    if wanted.get("train_on"):
        more["train_cells"] = f"<results>/{wanted['train_on']}/{scored_model(wildcards)}/cells.h5ad"
        more |= seen_inputs(wildcards.dataset)
    if wanted.get("cell_labels"):
        more["cell_labels"] = wanted["cell_labels"]
    split = config["datasets"][wildcards.dataset]["split"]
    if split["by"] == "paper":
        more["training_lists"] = [f"{split['lists']}/{side}_antibodies.txt" for side in ("train", "valid")]
        if wildcards.dataset in collections():
            more["release"] = release_of(wildcards.dataset)
    return more


def listed_inputs(dataset):
    """Lists of antibodies that a network was trained on elsewhere, where a dataset has such."""
    lists = config["scoring"]["test_sets"].get(dataset, {}).get("seen_antibodies")
    return {"seen_antibodies": lists} if lists else {}


def seen_inputs(dataset):
    """Fields of all datasets that train a network which is scored on this one, where one does."""
    fields = [
        path
        for name in training_datasets(dataset)
        for path in collect("<results>/{dataset}/fields/{shard}.parquet", dataset=name, shard=shards(name))
    ]
    return {"network_fields": fields} if fields else {}


@cache
def learned_on(model):
    """Datasets that a network was trained on here, also one of whose checkpoints another model is."""
    given = config["models"][model].get("checkpoint")
    if given:
        folder = os.path.dirname(os.path.abspath(given))
        made = {
            os.path.abspath(f"{pathvar('results')}/{kept}/{name}"): name
            for name in trained_models()
            for kept in ("models", ".state")
        }
        model = made.get(folder, model)
    return config["models"][model].get("train_on") or []


def given_weights(dataset):
    """Checkpoints from files that networks which are scored on a dataset start from, or are."""
    scorers = [config["models"][model] for name, model in pairs() if name == dataset]
    given = [model.get(key) for model in scorers for key in ("start", "checkpoint")]
    return list(dict.fromkeys(path for path in given if path and path.endswith(".safetensors")))


@cache
def training_datasets(dataset):
    """Datasets that train a network which is scored on this one, or elsewhere with this one as home; itself too if it does."""
    there = [name for name in config["datasets"] if external_home(name) == dataset]
    scorers = [model for name, model in pairs() if name in (dataset, *there)]
    return list(dict.fromkeys(name for model in scorers for name in learned_on(model)))


def external_home(dataset):
    """The home dataset of one that `external` is asked for."""
    return home_of(dataset) if "external" in asked_benchmarks(dataset) else None


def classifier_datasets(dataset):
    """Datasets whose classifiers are scored on every part of this one, and not on its test part alone."""
    located = "localization" in asked_benchmarks(dataset)
    trains = config["scoring"]["test_sets"].get(dataset, {}).get("train_on") if located else None
    return list(dict.fromkeys(filter(None, (external_home(dataset), trains))))


def learned_elsewhere(dataset):
    """Other datasets with images from which something learned that is scored on this one."""
    names = dict.fromkeys(training_datasets(dataset) + classifier_datasets(dataset))
    return [name for name in names if name != dataset and name in image_datasets()]


def fields_elsewhere(wildcards):
    """Input function: fields and images of those datasets."""
    return {
        f"{what}_{name}": collect(f"<results>/{name}/{what}/{{shard}}{end}", shard=shards(name))
        for name in learned_elsewhere(wildcards.dataset)
        for what, end in (("fields", ".parquet"), ("images", ""))
    }


def scored_log(wildcards):
    """Where it is noted which models were scored on the held-out part of a dataset; no rule's output, so it stays."""
    return f"{pathvar('results')}/{wildcards.dataset}/test_scored.tsv"


def all_benchmarks():
    """Benchmarks that some dataset is scored on."""
    asked = [name for dataset in config["datasets"] for name in asked_benchmarks(dataset)]
    return sorted(set(asked), key=[*SUITE, *config["own_tasks"]].index)


def score_files(suffix):
    """Result files of all benchmarks and their controls."""
    paths = []
    for name in all_benchmarks():
        paths += per_pair(
            "<results>/{dataset}/{model}/benchmarks/{benchmark}.{suffix}",
            scored_pairs(name),
            benchmark=name,
            suffix=suffix,
        )
        paths += collect(
            "<results>/{dataset}/controls/{benchmark}/{control}.{suffix}",
            dataset=controlled(name),
            benchmark=name,
            control=CONTROLS,
            suffix=suffix,
        )
    wanted = [dataset for dataset in segmented() if "segmentation" in asked_benchmarks(dataset)]
    return paths + collect(
        "<results>/{dataset}/benchmarks/segmentation.{suffix}", dataset=wanted, suffix=suffix
    )
