rule embed:
    """Turn every cell of one shard into a vector."""
    input:
        crops="<results>/{dataset}/crops/{shard}.h5sc",
        checkpoint=checkpoint_of,
    output:
        cells=temp("<results>/{dataset}/{model}/cells/{shard}.h5ad"),
    log:
        "<logs>/{dataset}/{model}/embed/{shard}.log",
    benchmark:
        "<logs>/{dataset}/{model}/embed/{shard}.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=240,
        gpu=gpus_to_embed,
        gpu_mb=8000,
    params:
        settings=lookup("models/{model}", within=config),
        code=code_version("embedding", "model"),
    message:
        "Embedding {wildcards.dataset}, shard {wildcards.shard}, with {wildcards.model}"
    script:
        "../scripts/embed.py"


rule merge_embeddings:
    """Join the shards of one model's embeddings into one AnnData file."""
    input:
        cells=per_shard("<results>/{dataset}/{model}/cells/{shard}.h5ad"),
        set_aside="<results>/{dataset}/set_aside.tsv",
    output:
        cells="<results>/{dataset}/{model}/cells.h5ad",
    log:
        "<logs>/{dataset}/{model}/merge.log",
    benchmark:
        "<logs>/{dataset}/{model}/merge.benchmark.jsonl"
    conda:
        "../../envs/subcell.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_version("embedding"),
    message:
        "Joining the embeddings of {wildcards.dataset} by {wildcards.model}"
    script:
        "../scripts/merge_embeddings.py"
