rule fetch_released_crops:
    """Some published crops, with their vectors from the released table."""
    input:
        table=released_table,
    output:
        folder=directory("<results>/check_released/crops"),
    log:
        "<logs>/check_released/fetch.log",
    benchmark:
        "<logs>/check_released/fetch.benchmark.jsonl"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
        downloads=1,
    params:
        settings={key: config["check_released"][key] for key in ("crops", "cells")},
    message:
        "Fetching published crops"
    script:
        "../scripts/fetch_released_crops.py"


rule check_released:
    """Released weights on published crops against the released vectors (needs the network; not part of `all`)."""
    input:
        crops="<results>/check_released/crops",
        weights=f"<results>/weights/{config['check_released']['weights']}",
    output:
        table="<results>/check_released/presets.tsv",
    log:
        "<logs>/check_released/check.log",
    benchmark:
        "<logs>/check_released/check.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=4000,
        runtime=120,
    message:
        "Comparing released weights with the released vectors"
    script:
        "../scripts/check_released.py"
