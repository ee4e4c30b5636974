"""What the maps ask of the configuration: which are made, from which cells and tables. No rules here."""


def mapped_pairs():
    """(dataset, model) of every map."""
    models, datasets = config["map"]["models"], config["map"]["datasets"]
    return [
        (dataset, model)
        for dataset, model in pairs()
        if (models is None or model in models) and (datasets is None or dataset in datasets)
    ]


@cache
def maps_made():
    """(dataset, model) of every map, and (dataset, model, line) of every map of one cell line."""
    return [
        (*pair, *line)
        for pair in mapped_pairs()
        for line in [(), *((line,) for line in config["map"]["lines"])]
    ]


def per_map(name):
    """The path of a file of every map."""
    return [
        f"<results>/{dataset}/{model}/{''.join(f'lines/{part}/' for part in line)}{name}"
        for dataset, model, *line in maps_made()
    ]


MAP_TABLES = [
    *("clusters", "levels", "enrichment", "enrichment_controls", "annotation"),
    *("annotation_test", "agreement", "findings", "filters"),
]


def map_settings(more=None):
    """The library's part of the section `map`; the rest says which maps are made, and with what."""
    left_out = ("models", "datasets", "lines", "workers", "downloads")
    return {key: value for key, value in config["map"].items() if key not in left_out} | (more or {})


def map_files():
    """Local files that a map reads besides the cells."""
    section = config["map"]
    named = [entry["file"] for entry in (*section["gene_sets"], *section["interactions"])]
    named += [entry["ontology"] for entry in section["gene_sets"] if entry["ontology"]]
    named += [entry["aliases"] for entry in section["interactions"] if entry["aliases"]]
    named += [section[key] for key in ("published", "published_counts", "findings") if section[key]]
    return [name for name in dict.fromkeys(named) if name not in section["downloads"]]


def map_title(dataset, model, line=None):
    """What stands above a map; simulated data is called so."""
    simulated = ", SIMULATED images" if config["datasets"][dataset]["source"] == "simulate" else ""
    return f"{dataset} as {model} sees it{f', {line}' if line else ''}{simulated}"


def map_tables(wildcards):
    """Tables beside a map that its explorer shows, by name."""
    folder = f"<results>/{wildcards.dataset}/{wildcards.model}"
    names = ["enrichment", "annotation", "neighbors"]
    if (wildcards.dataset, wildcards.model) in location_pairs():
        names.append("locations")
    return {name: f"{folder}/{name}.tsv" for name in names}
