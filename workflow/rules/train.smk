rule train:
    """Train one SubCell model on the crops of its datasets; a killed training goes on where it was."""
    input:
        crops=training_crops,
    output:
        checkpoint="<results>/models/{model}/checkpoint.safetensors",
        curves="<results>/models/{model}/training.parquet",
    log:
        "<logs>/models/{model}/train.log",
    benchmark:
        "<logs>/models/{model}/train.benchmark.jsonl"
    wildcard_constraints:
        model=alternatives(trained_models()),
    # The longest job first: all others fit beside it.
    priority: 50
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=1440,
        gpu=config["gpus"],
        gpu_mb=24000,
    params:
        settings=lookup("models/{model}", within=config),
        state=lambda wildcards: f"{pathvar('results')}/.state/{wildcards.model}",
        code=code_version("model"),
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train.py"
