rule crop:
    """Cut one square image a cell, at a fixed number of micrometres a pixel."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
        images="<results>/{dataset}/images/{shard}",
        masks="<results>/{dataset}/masks/{shard}.zarr",
        cells="<results>/{dataset}/cells/{shard}.parquet",
        flat_field=flat_field_of,
    output:
        crops=rebuildable("<results>/{dataset}/crops/{shard}.h5sc"),
        set_aside="<results>/{dataset}/crops/{shard}.set_aside.tsv",
    log:
        "<logs>/{dataset}/crop/{shard}.log",
    benchmark:
        "<logs>/{dataset}/crop/{shard}.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(segmented()),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        settings=lookup("crops", within=config),
        camera=camera_of,
    message:
        "Cropping the cells of {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/crop.py"


rule import_crops:
    """Bring published crops of single cells to our order of channels and scale."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
        images="<results>/{dataset}/images/{shard}",
    output:
        crops=rebuildable("<results>/{dataset}/crops/{shard}.h5sc"),
        set_aside="<results>/{dataset}/crops/{shard}.set_aside.tsv",
        cells="<results>/{dataset}/cells/{shard}.parquet",
        qc="<results>/{dataset}/qc/{shard}.parquet",
    log:
        "<logs>/{dataset}/import_crops/{shard}.log",
    benchmark:
        "<logs>/{dataset}/import_crops/{shard}.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(name for name in image_datasets() if name not in segmented()),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        settings=lookup("crops", within=config),
    message:
        "Importing the crops of {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/import_crops.py"
