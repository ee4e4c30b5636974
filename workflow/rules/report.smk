rule check_quality:
    """What a dataset holds, and everything that was set aside with the reason."""
    input:
        catalog="<results>/{dataset}/fields/set_aside.tsv",
        fields=per_shard("<results>/{dataset}/fields/{shard}.parquet"),
        crops=per_shard("<results>/{dataset}/crops/{shard}.set_aside.tsv"),
        images=per_shard("<results>/{dataset}/images/{shard}"),
        qc=per_shard("<results>/{dataset}/qc/{shard}.parquet"),
        cells=per_shard("<results>/{dataset}/cells/{shard}.parquet"),
    output:
        set_aside=report(
            "<results>/{dataset}/set_aside.tsv",
            caption="../report/set_aside.rst",
            category="Data",
            labels={"dataset": "{dataset}", "table": "set aside"},
        ),
        quality=report(
            "<results>/{dataset}/quality.tsv",
            caption="../report/quality.rst",
            category="Data",
            labels={"dataset": "{dataset}", "table": "quality"},
        ),
    log:
        "<logs>/{dataset}/check_quality.log",
    benchmark:
        "<logs>/{dataset}/check_quality.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_version("reporting", "catalog"),
    message:
        "Checking the quality of {wildcards.dataset}"
    script:
        "../scripts/check_quality.py"


rule draw_fields:
    """Fields with outlines, and crops, from the first shard of a dataset."""
    input:
        fields="<results>/{dataset}/fields/0000.parquet",
        images="<results>/{dataset}/images/0000",
        masks="<results>/{dataset}/masks/0000.zarr",
        crops="<results>/{dataset}/crops/0000.h5sc",
    output:
        gallery=report(
            "<results>/{dataset}/figures/fields.png",
            caption="../report/gallery.rst",
            category="Data",
            labels={"dataset": "{dataset}", "figure": "fields"},
        ),
        crops=report(
            "<results>/{dataset}/figures/crops.png",
            caption="../report/crops.rst",
            category="Data",
            labels={"dataset": "{dataset}", "figure": "crops"},
        ),
    log:
        "<logs>/{dataset}/draw_fields.log",
    benchmark:
        "<logs>/{dataset}/draw_fields.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_version("reporting", "imaging"),
    message:
        "Drawing fields and crops of {wildcards.dataset}"
    script:
        "../scripts/draw_fields.py"


rule report:
    """One HTML file that opens from disk."""
    input:
        summary="<results>/summary.tsv",
        not_run="<results>/not_run.tsv",
        scores=score_files("json"),
        set_aside=collect("<results>/{dataset}/set_aside.tsv", dataset=image_datasets()),
        quality=collect("<results>/{dataset}/quality.tsv", dataset=image_datasets()),
        fields=collect("<results>/{dataset}/figures/fields.png", dataset=image_datasets()),
        crops=collect("<results>/{dataset}/figures/crops.png", dataset=image_datasets()),
        curves=collect("<results>/models/{model}/training.parquet", model=trained_models()),
        maps=per_pair("<results>/{dataset}/{model}/map.h5ad", mapped_pairs()),
        clusters=per_pair("<results>/{dataset}/{model}/clusters.tsv", mapped_pairs()),
        locations=per_pair("<results>/{dataset}/{model}/locations.tsv", location_pairs()),
        neighbors=per_pair("<results>/{dataset}/{model}/neighbors.tsv", mapped_pairs()),
        attention=per_pair("<results>/{dataset}/{model}/attention/attention.tsv", network_pairs()),
        overlays=per_pair("<results>/{dataset}/{model}/attention/overlays.png", network_pairs()),
        templates=report_templates,
    output:
        html="<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<logs>/report.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        pairs=mapped_pairs(),
        trained=trained_models(),
        config=config,
        code=code_version("reporting"),
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"
