"""Benchmarks that need more than vectors, each with a row for every model that it can score."""


use rule retrieval as transcriptome with:
    input:
        unpack(lambda wildcards: expression_of(wildcards.dataset)),
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/transcriptome.json",
        predictions="<results>/{dataset}/{model}/benchmarks/transcriptome.parquet",
    log:
        "<logs>/{dataset}/{model}/transcriptome.log",
    benchmark:
        "<logs>/{dataset}/{model}/transcriptome.benchmark.jsonl"
    params:
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        scoring=task_settings("transcriptome"),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
    message:
        "Comparing lines of {wildcards.dataset} as {wildcards.model} sees them with their expression"


use rule retrieval as interactions with:
    input:
        unpack(lambda wildcards: pairs_of(wildcards.dataset)),
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/interactions.json",
        predictions="<results>/{dataset}/{model}/benchmarks/interactions.parquet",
    log:
        "<logs>/{dataset}/{model}/interactions.log",
    benchmark:
        "<logs>/{dataset}/{model}/interactions.benchmark.jsonl"
    params:
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        scoring=task_settings("interactions"),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
    message:
        "Scoring interactions in {wildcards.dataset} by {wildcards.model}"


use rule retrieval as perturbation with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/perturbation.json",
        predictions="<results>/{dataset}/{model}/benchmarks/perturbation.parquet",
        hits=report(
            "<results>/{dataset}/{model}/hits.tsv",
            caption="../report/hits.rst",
            category="Perturbations",
            labels={"dataset": "{dataset}", "model": "{model}", "table": "hits"},
        ),
    log:
        "<logs>/{dataset}/{model}/perturbation.log",
    benchmark:
        "<logs>/{dataset}/{model}/perturbation.benchmark.jsonl"
    params:
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        scoring=task_settings("perturbation"),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
    message:
        "Scoring perturbations of {wildcards.dataset} by {wildcards.model}"


rule draw_plates:
    """Cell counts and strength of effect of every well, plate by plate."""
    input:
        wells="<results>/{dataset}/{model}/benchmarks/perturbation.parquet",
    output:
        plates=report(
            "<results>/{dataset}/{model}/figures/plates.png",
            caption="../report/plates.rst",
            category="Perturbations",
            labels={"dataset": "{dataset}", "model": "{model}", "figure": "plates"},
        ),
    log:
        "<logs>/{dataset}/{model}/draw_plates.log",
    benchmark:
        "<logs>/{dataset}/{model}/draw_plates.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        title=lambda wildcards: map_title(wildcards.dataset, wildcards.model),
    message:
        "Drawing the plates of {wildcards.dataset} as {wildcards.model} sees them"
    script:
        "../scripts/draw_plates.py"


rule attention:
    """Whether a network looks at the parts of a cell, and how much its surroundings matter to it."""
    input:
        unpack(drawn_truth),
        cells="<results>/{dataset}/{model}/cells.h5ad",
        crops=per_shard("<results>/{dataset}/crops/{shard}.h5sc"),
        checkpoint=checkpoint_of,
        fields=fields_to_choose_by,
    output:
        scores="<results>/{dataset}/{model}/benchmarks/attention.json",
        predictions="<results>/{dataset}/{model}/benchmarks/attention.parquet",
    log:
        "<logs>/{dataset}/{model}/attention.log",
    benchmark:
        "<logs>/{dataset}/{model}/attention.benchmark.jsonl"
    wildcard_constraints:
        model=alternatives(embedding_models()),
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000),
        runtime=60,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        task="attention",
        settings=lambda wildcards: embedded_with(config["models"][wildcards.model]),
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scoring=task_settings("attention"),
        scored_log=scored_log,
    message:
        "Scoring where {wildcards.model} looks in {wildcards.dataset}"
    script:
        "../scripts/score_images.py"


rule robustness:
    """Whether vectors survive changes of the images that leave the cells what they are."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
        crops=per_shard("<results>/{dataset}/crops/{shard}.h5sc"),
        checkpoint=checkpoint_of,
        fields=fields_to_choose_by,
    output:
        scores="<results>/{dataset}/{model}/benchmarks/robustness.json",
        predictions="<results>/{dataset}/{model}/benchmarks/robustness.parquet",
    log:
        "<logs>/{dataset}/{model}/robustness.log",
    benchmark:
        "<logs>/{dataset}/{model}/robustness.benchmark.jsonl"
    wildcard_constraints:
        model=alternatives(embedding_models()),
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000),
        runtime=120,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        task="robustness",
        settings=lambda wildcards: embedded_with(config["models"][wildcards.model]),
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scoring=task_settings("robustness"),
        scored_log=scored_log,
    message:
        "Changing images of {wildcards.dataset} and embedding them with {wildcards.model}"
    script:
        "../scripts/score_images.py"


use rule localization as external with:
    input:
        unpack(external_inputs),
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/external.json",
        predictions="<results>/{dataset}/{model}/benchmarks/external.parquet",
    log:
        "<logs>/{dataset}/{model}/external.log",
    benchmark:
        "<logs>/{dataset}/{model}/external.benchmark.jsonl"
    params:
        simulated=lambda wildcards: wildcards.dataset in simulated(),
        scoring=lambda wildcards: task_settings("external", wildcards.dataset),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
    message:
        "Scoring {wildcards.model} on {wildcards.dataset}, trained elsewhere"
