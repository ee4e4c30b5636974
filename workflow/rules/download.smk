for dataset in image_datasets():

    settings = config["datasets"][dataset]

    rule:
        name:
            f"catalog_{dataset}"
        input:
            sheet=settings.get("sheet", []),
        output:
            fields=collect(f"<results>/{dataset}/fields/{{shard}}.parquet", shard=shards(dataset)),
            set_aside=f"<results>/{dataset}/fields/set_aside.tsv",
        log:
            f"<logs>/{dataset}/catalog.log",
        benchmark:
            f"<logs>/{dataset}/catalog.benchmark.jsonl"
        conda:
            "../../envs/images.yaml"
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            dataset=dataset,
            settings=settings,
            code=code_version("catalog", "sources"),
        message:
            f"Listing the fields of {dataset}"
        script:
            "../scripts/list_fields.py"


rule download:
    """Bring the images of one shard into the results: simulated, linked or fetched, with a ledger row a file."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
    output:
        images=directory("<results>/{dataset}/images/{shard}"),
    log:
        "<logs>/{dataset}/download/{shard}.log",
    benchmark:
        "<logs>/{dataset}/download/{shard}.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=lookup("datasets/{dataset}", within=config),
        code=code_version("sources"),
    message:
        "Fetching the images of {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/fetch_images.py"


rule make_sheet:
    """Write a sheet for a folder of images (`make_sheet` in the configuration); an existing file is never overwritten."""
    log:
        "<logs>/make_sheet.log",
    benchmark:
        "<logs>/make_sheet.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        settings=lookup("make_sheet", within=config),
    message:
        "Making a sheet of the images in a folder"
    script:
        "../scripts/make_sheet.py"
