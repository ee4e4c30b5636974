"""Map the proteins of one dataset as one model sees them."""

from job import job
from subcell.atlas.map.map import Settings, build_map, write_map

with job(snakemake) as run:
    files, params = snakemake.output, snakemake.params
    downloads = {path.rsplit("/", 1)[-1]: path for path in snakemake.input.get("references", [])}
    found = build_map(
        snakemake.input.cells,
        Settings(**params.settings, downloads=downloads),
        workers=snakemake.threads,
        threads=run.threads,
        progress=run.progress,
    )
    write_map(
        found,
        files.map,
        {name: files[name] for name in params.tables},
        single_cells=files.get("single_cells"),
        networks={"tree": files.tree, "hierarchy": files.hierarchy, "proteins": files.proteins},
        figures=[files.png, files.svg],
        title=params.title,
    )
