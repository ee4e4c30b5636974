rule download_reference:
    """Fetch a file of gene sets or interactions, and hold it to its checksum."""
    output:
        "<results>/references/{file}",
    log:
        "<logs>/references/{file}.log",
    benchmark:
        "<logs>/references/{file}.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=120,
        downloads=1,
    params:
        download=lambda wildcards: config["map"]["downloads"][wildcards.file],
        ledger=lambda wildcards: (
            f"{config['pathvars'].get('results', 'results')}/.state/references/{wildcards.file}.sha256"
        ),
    message:
        "Fetching {wildcards.file}"
    script:
        "../scripts/fetch_reference.py"


rule cluster:
    """Summarise cells to proteins, cluster them at rising resolutions, and say what the clusters are and if they hold."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
        references=collect("<results>/references/{file}", file=config["map"]["downloads"]),
        files=map_files(),
    output:
        **{
            name: report(
                f"<results>/{{dataset}}/{{model}}/{name}.tsv",
                caption=f"../report/map_{name}.rst",
                category="Map",
                labels={"dataset": "{dataset}", "model": "{model}", "table": name.replace("_", " ")},
            )
            for name in MAP_TABLES
        },
        **(
            {"single_cells": "<results>/{dataset}/{model}/cells_umap.parquet"}
            if config["map"]["single_cells"]
            else {}
        ),
        map="<results>/{dataset}/{model}/map.h5ad",
        tree="<results>/{dataset}/{model}/map.cx2",
        hierarchy="<results>/{dataset}/{model}/map.hcx.cx2",
        proteins="<results>/{dataset}/{model}/map.proteins.cx2",
        svg="<results>/{dataset}/{model}/figures/map.svg",
        png=report(
            "<results>/{dataset}/{model}/figures/map.png",
            caption="../report/map_figure.rst",
            category="Map",
            labels={"dataset": "{dataset}", "model": "{model}", "table": "figure"},
        ),
    log:
        "<logs>/{dataset}/{model}/cluster.log",
    benchmark:
        "<logs>/{dataset}/{model}/cluster.benchmark.jsonl"
    conda:
        "../../envs/map.yaml"
    threads: config["map"]["workers"]
    resources:
        # The vectors of all cells, and what batch correction and resampling make of them.
        mem_mb=memory(4000, times=6),
        runtime=240,
    params:
        settings=map_settings(),
        tables=MAP_TABLES,
        title=lambda wildcards: map_title(wildcards.dataset, wildcards.model),
    message:
        "Mapping {wildcards.dataset} as {wildcards.model} sees it"
    script:
        "../scripts/cluster.py"


# A map of one cell line by itself, for each of `map.lines`.
use rule cluster as cluster_line with:
    output:
        **{name: f"<results>/{{dataset}}/{{model}}/lines/{{line}}/{name}.tsv" for name in MAP_TABLES},
        **(
            {"single_cells": "<results>/{dataset}/{model}/lines/{line}/cells_umap.parquet"}
            if config["map"]["single_cells"]
            else {}
        ),
        map="<results>/{dataset}/{model}/lines/{line}/map.h5ad",
        tree="<results>/{dataset}/{model}/lines/{line}/map.cx2",
        hierarchy="<results>/{dataset}/{model}/lines/{line}/map.hcx.cx2",
        proteins="<results>/{dataset}/{model}/lines/{line}/map.proteins.cx2",
        svg="<results>/{dataset}/{model}/lines/{line}/figures/map.svg",
        png="<results>/{dataset}/{model}/lines/{line}/figures/map.png",
    log:
        "<logs>/{dataset}/{model}/lines/{line}.log",
    benchmark:
        "<logs>/{dataset}/{model}/lines/{line}.benchmark.jsonl"
    wildcard_constraints:
        line=alternatives(config["map"]["lines"]),
    params:
        settings=lambda wildcards: map_settings(
            {"filters": config["map"]["filters"] | {"cell_lines": [wildcards.line]}}
        ),
        tables=MAP_TABLES,
        title=lambda wildcards: map_title(wildcards.dataset, wildcards.model, wildcards.line),
    message:
        "Mapping {wildcards.line} in {wildcards.dataset} as {wildcards.model} sees it"
