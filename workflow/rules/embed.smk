rule fetch_weights:
    """Bring the released weights of one network and its location classifiers: fetched once, checked for damage."""
    output:
        folder=directory("<results>/weights/{released}"),
    log:
        "<logs>/weights/{released}.log",
    benchmark:
        "<logs>/weights/{released}.benchmark.jsonl"
    wildcard_constraints:
        released=alternatives(released_networks()),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=120,
        downloads=1,
    params:
        settings=lookup("weights", within=config),
    message:
        "Fetching the weights of {wildcards.released}"
    script:
        "../scripts/fetch_weights.py"


rule embed:
    """Turn every cell of one shard into a vector."""
    input:
        crops="<results>/{dataset}/crops/{shard}.h5sc",
        checkpoint=checkpoint_of,
        fields=fields_to_choose_by,
    output:
        cells=temp("<results>/{dataset}/{model}/cells/{shard}.h5ad"),
    log:
        "<logs>/{dataset}/{model}/embed/{shard}.log",
    benchmark:
        "<logs>/{dataset}/{model}/embed/{shard}.benchmark.jsonl"
    wildcard_constraints:
        model=alternatives(embedding_models()),
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory_to_embed,
        runtime=minutes_anew(240),
        cpus_per_task=cpus_to_embed,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        settings=lambda wildcards: embedded_with(config["models"][wildcards.model]),
        about=lambda wildcards: {"stains_replaced": replaced_stains(wildcards.dataset)},
    message:
        "Embedding {wildcards.dataset}, shard {wildcards.shard}, with {wildcards.model}"
    script:
        "../scripts/embed.py"


rule merge_embeddings:
    """Join the shards of one model's embeddings into one AnnData file."""
    input:
        cells=per_shard("<results>/{dataset}/{model}/cells/{shard}.h5ad"),
        set_aside="<results>/{dataset}/set_aside.tsv",
    output:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    log:
        "<logs>/{dataset}/{model}/merge.log",
    benchmark:
        "<logs>/{dataset}/{model}/merge.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(image_datasets()),
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=memory(2000, times=1),
        runtime=minutes(60),
    message:
        "Joining the embeddings of {wildcards.dataset} by {wildcards.model}"
    script:
        "../scripts/merge_embeddings.py"


rule embeddings:
    """All vectors and nothing else: a million cells, shard by shard, on all GPUs (not part of `all`)."""
    input:
        per_pair("<results>/{dataset}/{model}/cells.h5ad", pairs()),


rule import_embeddings:
    """Take vectors that came from elsewhere into the form of our own."""
    input:
        file=lambda wildcards: config["datasets"][wildcards.dataset]["file"],
    output:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    log:
        "<logs>/{dataset}/{model}/import.log",
    benchmark:
        "<logs>/{dataset}/{model}/import.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(vector_datasets()),
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=memory(4000, times=3),
        runtime=minutes(60),
    params:
        settings=lambda wildcards: {
            key: config["datasets"][wildcards.dataset][key]
            for key in ("columns", "defaults", "layer", "split")
        },
    message:
        "Importing the vectors of {wildcards.dataset}"
    script:
        "../scripts/import_embeddings.py"


rule locations:
    """Locations of each protein, where a model says them of cells."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        locations="<results>/{dataset}/{model}/locations.tsv",
    log:
        "<logs>/{dataset}/{model}/locations.log",
    benchmark:
        "<logs>/{dataset}/{model}/locations.benchmark.jsonl"
    conda:
        "../../envs/map.yaml"
    resources:
        mem_mb=memory(4000, times=3),
        runtime=60,
    params:
        unit=lookup("map/unit", within=config),
    message:
        "Locations in {wildcards.dataset} as {wildcards.model} says them"
    script:
        "../scripts/predict_locations.py"


rule neighbors:
    """The most similar proteins of every protein."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        neighbors="<results>/{dataset}/{model}/neighbors.tsv",
    log:
        "<logs>/{dataset}/{model}/neighbors.log",
    benchmark:
        "<logs>/{dataset}/{model}/neighbors.benchmark.jsonl"
    conda:
        "../../envs/map.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, times=3),
        runtime=minutes(120),
    params:
        settings={
            "unit": config["neighbors"]["unit"] or config["map"]["unit"],
            "most": config["neighbors"]["most"],
            "average": config["map"]["average"],
            "seed": config["map"]["seed"],
        },
    message:
        "Neighbours in {wildcards.dataset} as {wildcards.model} sees them"
    script:
        "../scripts/find_neighbors.py"


rule measure_attention:
    """Where a network looks, on some cells of a dataset."""
    input:
        crops=per_shard("<results>/{dataset}/crops/{shard}.h5sc"),
        checkpoint=checkpoint_of,
        fields=fields_to_choose_by,
    output:
        table="<results>/{dataset}/{model}/attention/attention.tsv",
        examples="<results>/{dataset}/{model}/attention/examples.npz",
    log:
        "<logs>/{dataset}/{model}/measure_attention.log",
    benchmark:
        "<logs>/{dataset}/{model}/measure_attention.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000),
        runtime=60,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        settings=lambda wildcards: embedded_with(config["models"][wildcards.model]),
        cells={key: config["attention"][key] for key in ("cells", "shown")},
    message:
        "Looking where {wildcards.model} looks in {wildcards.dataset}"
    script:
        "../scripts/measure_attention.py"


rule draw_attention:
    """Cells with the attention of each head over them."""
    input:
        examples="<results>/{dataset}/{model}/attention/examples.npz",
    output:
        overlays=report(
            "<results>/{dataset}/{model}/attention/overlays.png",
            caption="../report/attention.rst",
            category="Models",
            labels={"dataset": "{dataset}", "model": "{model}", "figure": "attention"},
        ),
    log:
        "<logs>/{dataset}/{model}/draw_attention.log",
    benchmark:
        "<logs>/{dataset}/{model}/draw_attention.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    message:
        "Drawing where {wildcards.model} looks in {wildcards.dataset}"
    script:
        "../scripts/draw_attention.py"


rule measure_scale_cost:
    """What pixels that are too coarse cost a network, measured on cells degraded to them."""
    input:
        crops=per_shard("<results>/{dataset}/crops/{shard}.h5sc"),
        checkpoint=checkpoint_of,
        fields=fields_to_choose_by,
    output:
        table="<results>/{dataset}/{model}/scale.tsv",
    log:
        "<logs>/{dataset}/{model}/scale.log",
    benchmark:
        "<logs>/{dataset}/{model}/scale.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000),
        runtime=120,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        settings=lambda wildcards: embedded_with(config["models"][wildcards.model]),
        cells={
            "cells": config["attention"]["cells"],
            "factors": config["attention"]["scale_factors"] or [1, 2, 4, 7.5],
        },
    message:
        "Measuring what coarse pixels cost {wildcards.model} on {wildcards.dataset}"
    script:
        "../scripts/measure_scale_cost.py"


rule scale_cost:
    """What coarse pixels cost every network (not part of `all`)."""
    input:
        per_pair("<results>/{dataset}/{model}/scale.tsv", network_pairs()),


rule export_parquet:
    """The vectors of one model as a parquet table, a row a cell."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        table="<results>/{dataset}/{model}/cells.parquet",
    log:
        "<logs>/{dataset}/{model}/export.log",
    benchmark:
        "<logs>/{dataset}/{model}/export.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=memory(2000, times=1),
        runtime=minutes(60),
    message:
        "Writing the vectors of {wildcards.dataset} by {wildcards.model} as parquet"
    script:
        "../scripts/export_parquet.py"


rule parquet:
    """All vectors as parquet tables (not part of `all`)."""
    input:
        per_pair("<results>/{dataset}/{model}/cells.parquet", pairs()),
