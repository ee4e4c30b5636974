rule localization:
    """Multilabel localization from frozen embeddings, scored on held-out proteins."""
    input:
        unpack(localization_inputs),
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/localization.json",
        predictions="<results>/{dataset}/{model}/benchmarks/localization.parquet",
    log:
        "<logs>/{dataset}/{model}/localization.log",
    benchmark:
        "<logs>/{dataset}/{model}/localization.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, times=6),
        runtime=minutes(120),
        gpu=min(1, config["gpus"]),
        gpu_mb=16000,
    params:
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        scoring=lookup("scoring", within=config),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
    message:
        "Scoring localization of {wildcards.dataset} by {wildcards.model}"
    script:
        "../scripts/score_model.py"


use rule localization as cell_line with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/cell_line.json",
        predictions="<results>/{dataset}/{model}/benchmarks/cell_line.parquet",
    log:
        "<logs>/{dataset}/{model}/cell_line.log",
    benchmark:
        "<logs>/{dataset}/{model}/cell_line.benchmark.jsonl"
    message:
        "Scoring cell lines of {wildcards.dataset} by {wildcards.model}"


use rule localization as retrieval with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/retrieval.json",
        predictions="<results>/{dataset}/{model}/benchmarks/retrieval.parquet",
    log:
        "<logs>/{dataset}/{model}/retrieval.log",
    benchmark:
        "<logs>/{dataset}/{model}/retrieval.benchmark.jsonl"
    resources:
        mem_mb=memory(4000, times=6),
        runtime=minutes(120),
    message:
        "Scoring retrieval of {wildcards.dataset} by {wildcards.model}"


use rule retrieval as hierarchy with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/hierarchy.json",
        predictions="<results>/{dataset}/{model}/benchmarks/hierarchy.parquet",
    log:
        "<logs>/{dataset}/{model}/hierarchy.log",
    benchmark:
        "<logs>/{dataset}/{model}/hierarchy.benchmark.jsonl"
    message:
        "Scoring the hierarchy of locations of {wildcards.dataset} by {wildcards.model}"


use rule retrieval as batch with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/batch.json",
        predictions="<results>/{dataset}/{model}/benchmarks/batch.parquet",
    log:
        "<logs>/{dataset}/{model}/batch.log",
    benchmark:
        "<logs>/{dataset}/{model}/batch.benchmark.jsonl"
    message:
        "Scoring batch effects of {wildcards.dataset} by {wildcards.model}"


use rule retrieval as own_task with:
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        scores="<results>/{dataset}/{model}/benchmarks/{benchmark}.json",
        predictions="<results>/{dataset}/{model}/benchmarks/{benchmark}.parquet",
    log:
        "<logs>/{dataset}/{model}/{benchmark}.log",
    benchmark:
        "<logs>/{dataset}/{model}/{benchmark}.benchmark.jsonl"
    wildcard_constraints:
        benchmark=alternatives(config["own_tasks"]),
    params:
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        scoring=lambda wildcards: task_settings(wildcards.benchmark),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        scored_log=scored_log,
        file=lambda wildcards: config["own_tasks"][wildcards.benchmark]["file"],
    message:
        "Scoring {wildcards.benchmark} of {wildcards.dataset} by {wildcards.model}"


rule controls:
    """What a benchmark gives to random labels, random features, perfect features and the plate alone."""
    input:
        unpack(task_inputs),
    output:
        scores=collect("<results>/{{dataset}}/controls/{{benchmark}}/{control}.json", control=CONTROLS),
        predictions=collect(
            "<results>/{{dataset}}/controls/{{benchmark}}/{control}.parquet", control=CONTROLS
        ),
    log:
        "<logs>/{dataset}/controls_{benchmark}.log",
    benchmark:
        "<logs>/{dataset}/controls_{benchmark}.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, times=6),
        runtime=minutes(120),
        gpu=gpus_to_control,
        gpu_mb=16000,
    params:
        names=CONTROLS,
        model=lambda wildcards: first_model(wildcards),
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        scoring=lambda wildcards: task_settings(wildcards.benchmark, wildcards.dataset),
        split_by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        file=lambda wildcards: config["own_tasks"].get(wildcards.benchmark, {}).get("file"),
    message:
        "Scoring the controls of {wildcards.benchmark} on {wildcards.dataset}"
    script:
        "../scripts/score_controls.py"


rule check_leakage:
    """That nothing, not even an image under another name, is on both sides of a split or trains a network elsewhere."""
    input:
        unpack(fields_elsewhere),
        fields=per_shard("<results>/{dataset}/fields/{shard}.parquet"),
        images=per_shard("<results>/{dataset}/images/{shard}"),
        weights=lambda wildcards: given_weights(wildcards.dataset),
    output:
        table="<results>/{dataset}/leakage.tsv",
    log:
        "<logs>/{dataset}/check_leakage.log",
    benchmark:
        "<logs>/{dataset}/check_leakage.benchmark.jsonl"
    priority: 10
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        by=lambda wildcards: config["datasets"][wildcards.dataset]["split"]["by"],
        elsewhere=lambda wildcards: learned_elsewhere(wildcards.dataset),
        networks=lambda wildcards: training_datasets(wildcards.dataset),
        classifiers=lambda wildcards: classifier_datasets(wildcards.dataset),
    message:
        "Checking the split of {wildcards.dataset}"
    script:
        "../scripts/check_leakage.py"


rule segmentation:
    """Masks against reference masks, where a dataset has them."""
    input:
        fields=per_shard("<results>/{dataset}/fields/{shard}.parquet"),
        images=per_shard("<results>/{dataset}/images/{shard}"),
        masks=per_shard("<results>/{dataset}/masks/{shard}.zarr"),
    output:
        scores="<results>/{dataset}/benchmarks/segmentation.json",
        predictions="<results>/{dataset}/benchmarks/segmentation.parquet",
    log:
        "<logs>/{dataset}/segmentation.log",
    benchmark:
        "<logs>/{dataset}/segmentation.benchmark.jsonl"
    # It waits for no model, so it should not be what a run waits for at its end.
    priority: 10
    conda:
        "../../envs/segment.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000),
        runtime=120,
    params:
        model=lookup("segmentation/model", within=config),
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        scoring=lookup("scoring", within=config),
    message:
        "Scoring the masks of {wildcards.dataset}"
    script:
        "../scripts/score_segmentation.py"


rule summarize:
    """All scores in one tidy table, with paired differences to the reference model."""
    input:
        scores=score_files("json"),
        truth=collect("<results>/{dataset}/truth", dataset=simulated()),
        leakage=collect("<results>/{dataset}/leakage.tsv", dataset=image_datasets()),
    output:
        summary=report(
            "<results>/summary.tsv",
            caption="../report/summary.rst",
            category="Scores",
            labels={"table": "all scores"},
        ),
        not_run="<results>/not_run.tsv",
        leaderboard="<results>/scores.parquet",
        seeds="<results>/seeds.tsv",
        text="<results>/summary.txt",
    log:
        "<logs>/summarize.log",
    benchmark:
        "<logs>/summarize.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        scoring=lookup("scoring", within=config),
        models=lookup("models", within=config),
    message:
        "Collecting the scores"
    script:
        "../scripts/summarize.py"
