# The workflow with everything it needs, for `docker run --rm -v "$PWD/results:/workflow/results" IMAGE`.
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make gcc g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /workflow
COPY Makefile requirements-uv.txt requirements.lock ./
# Set-up compiles the map's neighbour search with the library.
COPY workflow/scripts workflow/scripts
RUN make .venv && rm -rf ~/.cache
COPY . .
ENV PATH=/workflow/.venv/bin:$PATH
ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]
