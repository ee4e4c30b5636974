rule truth:
    """What is true of a simulated dataset, for the benchmarks to score against; from its design alone."""
    output:
        truth=directory("<results>/{dataset}/truth"),
    log:
        "<logs>/{dataset}/truth.log",
    benchmark:
        "<logs>/{dataset}/truth.benchmark.jsonl"
    wildcard_constraints:
        dataset=alternatives(simulated()),
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda wildcards: image_settings(wildcards.dataset),
    message:
        "Telling the truth about {wildcards.dataset}"
    script:
        "../scripts/write_truth.py"
