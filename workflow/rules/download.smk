for dataset in image_datasets():

    settings = config["datasets"][dataset]

    if settings["source"] in COLLECTIONS:

        rule:
            name:
                f"read_release_{dataset}"
            input:
                files=local_files(settings),
            output:
                release=f"<results>/{dataset}/release.parquet",
                terms=f"<results>/{dataset}/source.json",
            log:
                f"<logs>/{dataset}/read_release.log",
            benchmark:
                f"<logs>/{dataset}/read_release.benchmark.jsonl"
            conda:
                "../../envs/images.yaml"
            resources:
                mem_mb=memory(2000),
                runtime=600,
                downloads=1,
            params:
                settings={key: settings[key] for key in ("source", *ADDRESSES) if key in settings},
                entries=entries_wanted(settings),
            message:
                f"Reading the release that {dataset} is taken from"
            script:
                "../scripts/read_release.py"

    rule:
        name:
            f"catalog_{dataset}"
        input:
            sheet=settings.get("sheet", []),
            release=release_of(dataset),
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
            # Lists of antibodies, which a selection may name.
            downloads=int(settings["source"] in COLLECTIONS),
        params:
            dataset=dataset,
            # What is scored on a dataset is no part of it.
            settings={key: value for key, value in settings.items() if key != "benchmarks"},
        message:
            f"Listing the fields of {dataset}"
        script:
            "../scripts/list_fields.py"


rule download:
    """Bring the images of one shard into the results: simulated, linked or fetched, with a ledger row a file."""
    input:
        fields="<results>/{dataset}/fields/{shard}.parquet",
        # Published crops are listed cell by cell there.
        release=lambda wildcards: [] if wildcards.dataset in segmented() else release_of(wildcards.dataset),
    output:
        images=rebuildable(directory("<results>/{dataset}/images/{shard}")),
    log:
        "<logs>/{dataset}/download/{shard}.log",
    benchmark:
        "<logs>/{dataset}/download/{shard}.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
        # Jobs on one machine share the connections to a host; a cluster limits the jobs (profiles/slurm).
        downloads=fetches,
    params:
        settings=lambda wildcards: image_settings(wildcards.dataset),
    message:
        "Fetching the images of {wildcards.dataset}, shard {wildcards.shard}"
    script:
        "../scripts/fetch_images.py"


rule plan_download:
    """Say how many files there are to fetch, how large, and how long it takes at the polite rate; fetch no image."""
    input:
        unpack(web_lists),
    output:
        plan="<results>/plan_download.tsv",
    log:
        "<logs>/plan_download.log",
    benchmark:
        "<logs>/plan_download.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        datasets=list(config["datasets"]),
    message:
        "Planning the download"
    script:
        "../scripts/plan_download.py"


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
