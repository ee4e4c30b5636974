rule cluster:
    """Average cells to proteins and cluster them at rising resolutions."""
    input:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    output:
        map="<results>/{dataset}/{model}/map.h5ad",
        clusters=report(
            "<results>/{dataset}/{model}/clusters.tsv",
            caption="../report/map.rst",
            category="Map",
            labels={"dataset": "{dataset}", "model": "{model}"},
        ),
    log:
        "<logs>/{dataset}/{model}/cluster.log",
    benchmark:
        "<logs>/{dataset}/{model}/cluster.benchmark.jsonl"
    conda:
        "../../envs/map.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=120,
    params:
        settings={key: value for key, value in config["map"].items() if key != "models"},
        code=code_version("atlas"),
    message:
        "Mapping {wildcards.dataset} as {wildcards.model} sees it"
    script:
        "../scripts/cluster.py"
