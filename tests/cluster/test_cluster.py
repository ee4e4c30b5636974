"""The chain on a real Slurm of two nodes, every rule in its own environment, with faults; equal to a local run."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from chain import ROOT, copy_project, environment, finish, kill, processes, run, start
from compare import differences
from one_machine import missing, slurm

SLURM = (
    "--profile",
    "slurm",
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "5",
    "--latency-wait",
    "10",
)
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as logs:
        yield logs


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Results of a run on this machine alone, in the environment that Snakemake runs in."""
    project = copy_project(tmp_path_factory.mktemp("local") / "subcell")
    finish(project, "--cores", 2)
    return project / "results"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("cluster") / "subcell")


def kill_once(project, script):
    """Wait for a script to run on a node, and kill it."""
    while True:
        for pid, command in processes(project).items():
            if command.endswith(script) and kill(pid):
                return
        time.sleep(0.05)


def test_a_job_that_asks_for_more_than_any_node_has_is_refused_in_one_line(cluster, project):
    finish(project, "results/tiny/fields/0000.parquet", *SLURM, "--sdm", "conda")
    code, text = run(
        project, "results/tiny/images/0000", *SLURM, "--sdm", "conda", "--set-resources", "download:mem_mb=1000000"
    )
    assert code != 0
    assert re.search("Memory specification can not be satisfied|Requested node configuration is not available", text)


def test_the_chain_survives_a_killed_job_and_gives_what_a_local_run_gives(cluster, project, local):
    chain = start(project, *SLURM, "--sdm", "conda")
    kill_once(project, "crop.py")
    assert chain.wait() == 0, (project / "chain.out").read_text()[-8000:]
    said = (project / "chain.out").read_text()
    assert "Trying to restart job" in said
    assert differences(project / "results", local) == []

    done = (cluster / "jobs.txt").read_text().splitlines()
    assert {re.search(r"NodeList=(\S+)", line)[1] for line in done} >= {"n1", "n2"}
    assert any("JobState=FAILED" in line for line in done)

    logs = [path for path in (project / "logs").rglob("*.log") if "slurm" not in path.parts]
    assert len(logs) > 10
    for path in logs:
        first = path.read_text().splitlines()[0]
        assert "/.snakemake/conda/" in first, path
        assert "nothing of Snakemake's in it" in first, path


def test_a_group_may_write_what_a_run_wrote(local, cluster, project):
    """Both ran with umask 002, which Slurm takes along."""
    for results in (local, project / "results"):
        narrow = [path for path in results.rglob("*") if not path.is_symlink() and not path.stat().st_mode & 0o020]
        assert narrow == []


def test_a_network_goes_to_the_partition_that_has_gpus_and_other_jobs_to_the_other(cluster, project):
    vectors = [f"results/tiny/{model}/cells/0000.h5ad" for model in ("random_vit", "shortcuts")]
    partitions = ("--slurm-partition-config", "profiles/slurm/partitions.yaml")
    few = [f"{rule}:cpus_per_task=1" for rule in ("segment", "embed")]  # beside a GPU they ask for more than a node has
    more = ("--set-resources", *few, "--config", "gpus=1", "models={shortcuts: {kind: shortcuts}}")
    finish(project, *vectors, *SLURM, *partitions, "--sdm", "conda", "--force", *more)
    done = (cluster / "jobs.txt").read_text().splitlines()[-2:]
    assert sorted(re.search(r"Partition=(\S+)", line)[1] for line in done) == ["batch", "gpu"]


LONGER = ("--config", "models={vit_prots_pool: {training: {epochs: 200}}}")
CHECKPOINT = "results/models/vit_prots_pool/checkpoint.safetensors"


def test_a_training_that_is_requeued_goes_on_where_it_was(cluster, project, local):
    """As after preemption: Slurm ends the job and starts it again itself, Snakemake does not take part."""
    finish(local.parent, CHECKPOINT, "--cores", 2, *LONGER)
    log = project / "logs/models/vit_prots_pool/train.log"
    log.unlink(missing_ok=True)
    chain = start(project, CHECKPOINT, *SLURM, "--sdm", "conda", *LONGER)
    while not (log.exists() and "epoch 5" in log.read_text()):
        assert chain.poll() is None
        time.sleep(0.05)
    (pid,) = (pid for pid, command in processes(project).items() if command.endswith("train.py"))
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (job,) = (text.removeprefix(b"SLURM_JOB_ID=") for text in variables if text.startswith(b"SLURM_JOB_ID="))
    subprocess.run(["scontrol", "requeue", job], check=True)
    assert chain.wait() == 0, (project / "chain.out").read_text()[-8000:]
    assert "Trying to restart job" not in (project / "chain.out").read_text().rpartition("$ snakemake")[2]
    began = re.search(r"step (\d+) of (\d+)", log.read_text())
    assert 0 < int(began[1]) < int(began[2])
    assert (project / CHECKPOINT).read_bytes() == (local.parent / CHECKPOINT).read_bytes()


def test_a_package_that_an_environment_lacks_is_missed_not_borrowed(project):
    """Snakemake's environment has torch; the one of `crop` must not find it there."""
    driver = project / "workflow/scripts/crop.py"
    driver.write_text(driver.read_text().replace("from subcell.crops.run", "import torch\nfrom subcell.crops.run"))
    code, text = run(project, "results/tiny/crops/0000.h5sc", "--cores", 1, "--sdm", "conda", "--forcerun", "crop")
    assert code != 0
    assert "No module named 'torch'" in text


def test_memory_above_the_limit_is_a_failed_attempt_and_the_next_gets_more(cluster, tmp_path):
    """As a rule of ours asks: `mem_mb` grows with the attempt."""
    (tmp_path / "Snakefile").write_text(
        "rule all:\n"
        "    output: 'done'\n"
        "    resources: mem_mb=lambda wildcards, attempt: 700 * attempt\n"
        "    shell: \"python3 -c 'import time; x = bytearray(600_000_000); time.sleep(6)' && touch {output}\"\n"
    )
    shutil.copytree(ROOT / "profiles/slurm", tmp_path / "slurm")
    done = subprocess.run(
        ["snakemake", *SLURM], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Trying to restart job" in said
    assert "mem_mb=1400" in said
