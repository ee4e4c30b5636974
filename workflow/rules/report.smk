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
        field_quality="<results>/{dataset}/field_quality.tsv",
        downloads="<results>/{dataset}/downloads.tsv",
    log:
        "<logs>/{dataset}/check_quality.log",
    benchmark:
        "<logs>/{dataset}/check_quality.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        border_cells=lookup("crops/border_cells", within=config),
    message:
        "Checking the quality of {wildcards.dataset}"
    script:
        "../scripts/check_quality.py"


rule draw_fields:
    """Fields with outlines, as different ones as a dataset has."""
    input:
        fields=per_shard("<results>/{dataset}/fields/{shard}.parquet"),
        images=per_shard("<results>/{dataset}/images/{shard}"),
        masks=per_shard("<results>/{dataset}/masks/{shard}.zarr"),
    output:
        gallery=report(
            "<results>/{dataset}/figures/fields.png",
            caption="../report/gallery.rst",
            category="Data",
            labels={"dataset": "{dataset}", "figure": "fields"},
        ),
    log:
        "<logs>/{dataset}/draw_fields.log",
    benchmark:
        "<logs>/{dataset}/draw_fields.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    message:
        "Drawing fields of {wildcards.dataset}"
    script:
        "../scripts/draw_fields.py"


rule draw_crops:
    """Crops by location, and cell lines by location, from as many shards as it takes."""
    input:
        crops=per_shard("<results>/{dataset}/crops/{shard}.h5sc"),
    output:
        crops=report(
            "<results>/{dataset}/figures/crops.png",
            caption="../report/crops.rst",
            category="Data",
            labels={"dataset": "{dataset}", "figure": "crops"},
        ),
        lines=report(
            "<results>/{dataset}/figures/lines.png",
            caption="../report/lines.rst",
            category="Data",
            labels={"dataset": "{dataset}", "figure": "cell lines by location"},
        ),
    log:
        "<logs>/{dataset}/draw_crops.log",
    benchmark:
        "<logs>/{dataset}/draw_crops.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    message:
        "Drawing crops of {wildcards.dataset}"
    script:
        "../scripts/draw_crops.py"


rule explore:
    """What the report's explorer shows of one map: units, levels, single cells and their pictures."""
    input:
        unpack(map_tables),
        unpack(lambda wildcards: expression_of(wildcards.dataset)),
        map="<results>/{dataset}/{model}/map.h5ad",
        clusters="<results>/{dataset}/{model}/clusters.tsv",
        cells="<results>/{dataset}/{model}/cells.h5ad",
        crops=crops_shown,
    output:
        explorer="<results>/{dataset}/{model}/explorer.json",
    log:
        "<logs>/{dataset}/{model}/explore.log",
    benchmark:
        "<logs>/{dataset}/{model}/explore.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        tables=lambda wildcards: list(map_tables(wildcards)),
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        # All maps together stay below a third of the 15 MB that a page should have at most.
        tiles_bytes=3_500_000 // max(1, len(maps_made())),
    message:
        "Preparing the explorer of {wildcards.dataset} by {wildcards.model}"
    script:
        "../scripts/explore.py"


# The same for a map of one cell line; its neighbours are read from the vectors of its proteins.
use rule explore as explore_line with:
    input:
        unpack(lambda wildcards: expression_of(wildcards.dataset)),
        enrichment="<results>/{dataset}/{model}/lines/{line}/enrichment.tsv",
        annotation="<results>/{dataset}/{model}/lines/{line}/annotation.tsv",
        map="<results>/{dataset}/{model}/lines/{line}/map.h5ad",
        clusters="<results>/{dataset}/{model}/lines/{line}/clusters.tsv",
        cells="<results>/{dataset}/{model}/cells.h5ad",
        crops=crops_shown,
    output:
        explorer="<results>/{dataset}/{model}/lines/{line}/explorer.json",
    log:
        "<logs>/{dataset}/{model}/lines/{line}.explore.log",
    benchmark:
        "<logs>/{dataset}/{model}/lines/{line}.explore.benchmark.jsonl"
    wildcard_constraints:
        line=alternatives(config["map"]["lines"]),
    params:
        tables=["enrichment", "annotation"],
        simulated=lambda wildcards: config["datasets"][wildcards.dataset]["source"] == "simulate",
        tiles_bytes=3_500_000 // max(1, len(maps_made())),
    message:
        "Preparing the explorer of {wildcards.line} in {wildcards.dataset} by {wildcards.model}"


rule report:
    """One HTML file that opens from disk, its figures as files, and an RO-Crate that describes the run."""
    input:
        summary="<results>/summary.tsv",
        not_run="<results>/not_run.tsv",
        leaderboard="<results>/scores.parquet",
        seeds="<results>/seeds.tsv",
        scores=score_files("json"),
        leakage=collect("<results>/{dataset}/leakage.tsv", dataset=image_datasets()),
        published="resources/published_scores.csv",
        set_aside=collect("<results>/{dataset}/set_aside.tsv", dataset=image_datasets()),
        quality=collect("<results>/{dataset}/quality.tsv", dataset=image_datasets()),
        field_quality=collect("<results>/{dataset}/field_quality.tsv", dataset=image_datasets()),
        downloads=collect("<results>/{dataset}/downloads.tsv", dataset=image_datasets()),
        vectors=[
            f"<results>/{name}/{config['datasets'][name]['model']}/cells.h5ad" for name in vector_datasets()
        ],
        plates=collect("<results>/{dataset}/quality/plates.tsv", dataset=segmented()),
        galleries=collect("<results>/{dataset}/figures/fields.png", dataset=segmented()),
        crops=collect("<results>/{dataset}/figures/crops.png", dataset=image_datasets()),
        lines=collect("<results>/{dataset}/figures/lines.png", dataset=image_datasets()),
        curves=collect("<results>/models/{model}/training.parquet", model=trained_models()),
        checkpoints=collect("<results>/models/{model}/checkpoint.safetensors", model=trained_models()),
        maps=per_map("map.h5ad"),
        clusters=per_map("clusters.tsv"),
        explorers=per_map("explorer.json"),
        sources=collect("<results>/{dataset}/source.json", dataset=collections()),
        # Written by a stage that a run may not have.
        reconstructions=lambda wildcards: made("<results>/models/{name}/reconstruction.png", trained_models()),
        agreements=per_map("agreement.tsv"),
        attention=per_pair("<results>/{dataset}/{model}/attention/attention.tsv", network_pairs()),
        overlays=per_pair("<results>/{dataset}/{model}/attention/overlays.png", network_pairs()),
        environments=environment_files,
        templates=report_templates,
        workflow=workflow_files,
    output:
        html=report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "everything on one page"},
        ),
        figures=report(
            directory("<results>/report"),
            patterns=["{name}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        crate="<results>/ro-crate-metadata.json",
        readme="<results>/README.md",
        cards=directory("<results>/cards"),
    log:
        "<logs>/report.log",
    benchmark:
        "<logs>/report.benchmark.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=30,
    params:
        datasets=image_datasets(),
        mapped=maps_made(),
        networks=network_pairs(),
        trained=trained_models(),
        config=config,
        snakemake=snakemake_version,
        logs=pathvar("logs"),
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"
