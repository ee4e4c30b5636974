rule segment:
    """Label nuclei and cells in every field of one shard."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
        images="<results>/{dataset}/images/{shard}",
        weights=segmentation_weights(),
        flat_field=flat_field_of,
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
        mem_mb=memory(3000),
        runtime=minutes_anew(240),
        cpus_per_task=max(config["threads"], CPUS_TO_EMBED * min(1, config["gpus"])),
        gpu=min(1, config["gpus"]),
        gpu_mb=8000,
    params:
        settings=lookup("segmentation", within=config),
        camera=camera_of,
    message:
        "Segmenting {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/segment.py"


rule check_plates:
    """Fields that stand out from their plate, and plates that stand out from the dataset."""
    input:
        qc=per_shard("<results>/{dataset}/qc/{shard}.parquet"),
    output:
        fields="<results>/{dataset}/quality/fields.tsv",
        plates=report(
            "<results>/{dataset}/quality/plates.tsv",
            caption="../report/plate_quality.rst",
            category="Data",
            labels={"dataset": "{dataset}", "table": "plates"},
        ),
    log:
        "<logs>/{dataset}/check_plates.log",
    benchmark:
        "<logs>/{dataset}/check_plates.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    message:
        "Comparing the plates of {wildcards.dataset}"
    script:
        "../scripts/check_plates.py"


rule estimate_flat_field:
    """How evenly each plate and channel was lit, by BaSiC."""
    input:
        fields=per_shard("<results>/{dataset}/fields/{shard}.parquet"),
        images=per_shard("<results>/{dataset}/images/{shard}"),
    output:
        flat_field=directory("<results>/{dataset}/flat_field"),
    log:
        "<logs>/{dataset}/estimate_flat_field.log",
    benchmark:
        "<logs>/{dataset}/estimate_flat_field.benchmark.jsonl"
    conda:
        "../../envs/flat_field.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(6000),
        runtime=240,
    params:
        offset=lambda wildcards: camera_of(wildcards)["offset"],
    message:
        "Estimating the illumination of {wildcards.dataset}"
    script:
        "../scripts/estimate_flat_field.py"


rule fine_tune:
    """Adapt a segmentation model to labelled fields of your own, and score it on a part that it never saw."""
    input:
        labelled=labelled_fields,
    output:
        weights=fine_tuned_weights(),
        scores="<results>/fine_tuned/scores.tsv",
    log:
        "<logs>/fine_tune.log",
    benchmark:
        "<logs>/fine_tune.benchmark.jsonl"
    conda:
        "../../envs/segment.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(6000 if tunes_compact() else 16_000),
        runtime=600,
        gpu=min(1, config["gpus"]),
        gpu_mb=8000 if tunes_compact() else 16_000,
    params:
        settings=lookup("fine_tune", within=config),
    message:
        "Fine-tuning a segmentation model"
    script:
        "../scripts/fine_tune.py"


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
        mem_mb=memory(6000),
        runtime=600,
        gpu=min(1, config["gpus"]),
        gpu_mb=8000,
    params:
        settings=lookup("train_compact", within=config),
    message:
        "Training the compact segmentation network"
    script:
        "../scripts/train_compact.py"
