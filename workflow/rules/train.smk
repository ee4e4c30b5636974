rule train:
    """Train one SubCell model on the crops of its datasets; a killed training goes on where it was."""
    input:
        crops=training_crops,
        start=lambda wildcards: config["models"][wildcards.model]["start"] or [],
    output:
        checkpoint="<results>/models/{model}/checkpoint.safetensors",
        curves="<results>/models/{model}/training.parquet",
    log:
        "<logs>/models/{model}/train.log",
    benchmark:
        "<logs>/models/{model}/train.benchmark.jsonl"
    wildcard_constraints:
        model=alternatives(name for name in trained_models() if not reconstructs(name)),
    # The longest job first: all others fit beside it.
    priority: 50
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory_to_train,
        runtime=minutes_to_train,
        cpus_per_task=cpus_to_train,
        gpu=config["gpus"],
        gpu_mb=24000,
    params:
        settings=lambda wildcards: learned_from(config["models"][wildcards.model]),
        state=lambda wildcards: f"{pathvar('results')}/.state/{wildcards.model}",
        tensorboard=lambda wildcards: f"{pathvar('logs')}/models/{wildcards.model}/tensorboard",
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train.py"


use rule train as train_autoencoder with:
    output:
        checkpoint="<results>/models/{model}/checkpoint.safetensors",
        curves="<results>/models/{model}/training.parquet",
        reconstruction="<results>/models/{model}/reconstruction.png",
        reconstruction_errors="<results>/models/{model}/reconstruction.tsv",
    wildcard_constraints:
        model=alternatives(name for name in trained_models() if reconstructs(name)),


rule compare_trainings:
    """Options of training beside each other on validation cells, over seeds; no test cell is looked at (not part of `all`)."""
    input:
        curves=collect("<results>/models/{model}/training.parquet", model=trained_models()),
    output:
        table="<results>/validation.tsv",
    log:
        "<logs>/compare_trainings.log",
    benchmark:
        "<logs>/compare_trainings.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        models={
            name: {
                "seed": config["models"][name]["seed"],
                "select": config["models"][name]["training"]["select"],
            }
            for name in trained_models()
        },
        reference=lookup("scoring/reference", within=config),
    message:
        "Comparing trainings on their validation cells"
    script:
        "../scripts/compare_trainings.py"
