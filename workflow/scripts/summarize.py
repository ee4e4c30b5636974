"""Collect all scores in one table."""

from job import job
from subcell.reporting.scores.summary import collect_summary

with job(snakemake):
    collect_summary(
        snakemake.input.scores,
        out_summary=snakemake.output.summary,
        out_not_run=snakemake.output.not_run,
        out_text=snakemake.output.text,
        truth=snakemake.input.truth,
        out_leaderboard=snakemake.output.leaderboard,
        out_seeds=snakemake.output.seeds,
        models=snakemake.params.models,
        **snakemake.params.scoring,
    )
