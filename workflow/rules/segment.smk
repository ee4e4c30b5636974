rule segment:
    """Label nuclei and cells in every field of one shard."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
        images="<results>/{dataset}/images/{shard}",
        weights=segmentation_weights(),
    output:
        masks=rebuildable(directory("<results>/{dataset}/masks/{shard}.zarr")),
        cells="<results>/{dataset}/cells/{shard}.parquet",
        qc="<results>/{dataset}/qc/{shard}.parquet",
    log:
        "<logs>/{dataset}/segment/{shard}.log",
    benchmark:
        "<logs>/{dataset}/segment/{shard}.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(segmented()),
    conda:
        "../../envs/segment.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=240,
        gpu=min(1, config["gpus"]),
        gpu_mb=8000,
    params:
        settings=lookup("segmentation", within=config),
        code=code_version("imaging", "segmentation"),
    message:
        "Segmenting {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/segment.py"


rule train_compact:
    """Train the compact segmentation network on simulated fields and labelled real nuclei."""
    output:
        weights="<results>/compact/compact.safetensors",
    log:
        "<logs>/train_compact.log",
    benchmark:
        "<logs>/train_compact.benchmark.jsonl"
    conda:
        "../../envs/segment.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=600,
        gpu=min(1, config["gpus"]),
        gpu_mb=8000,
    params:
        settings=lookup("train_compact", within=config),
        code=code_version("segmentation", "sources"),
    message:
        "Training the compact segmentation network"
    script:
        "../scripts/train_compact.py"
