# `snakemake --cores all` from here runs config.yaml; the workflow itself is workflow/Snakefile.
include: "workflow/Snakefile"


rule default:
    """Everything that the configuration asks for, ending with the report."""
    default_target: True
    input:
        rules.all.input,
