"""Jobs and Snakemake are killed; run again, the chain ends with the results of an undisturbed run."""

import random
import re
import signal
import time
from collections import Counter

from chain import jobs_done, kill, processes, run, start
from compare import differences

KILLS = 20
"""At least, over the whole chain."""
OF_ONE_SCRIPT = {"score_model.py": 4, "score_controls.py": 4}
"""Kills of the jobs of one script: those of many jobs bear several, all others one, so that every stage has its own."""
STAGES = {"segment.py", "train.py", "embed.py", "cluster.py", "score_model.py"}
"""Scripts that live long enough to be sure of one."""
LONGEST_S = 2.5


def script_of(command):
    return command.split("/")[-1].split(".", 1)[-1]


def test_jobs_killed_at_random_points_cost_nothing_but_themselves(fresh, undisturbed, table):
    """A job dies a random time after it began; one that is quicker gets away."""
    rng = random.Random(10)
    killed, due = Counter(), {}
    ended_well = False
    while not ended_well:
        chain = start(fresh, "--cores", 2)
        while chain.poll() is None:
            time.sleep(0.1)
            for pid, command in processes(fresh).items():
                script = script_of(command)
                dies = due.setdefault(pid, time.monotonic() + rng.uniform(0, LONGEST_S))
                if killed[script] < OF_ONE_SCRIPT.get(script, 1) and time.monotonic() > dies and kill(pid):
                    killed[script] += 1
        ended_well = chain.returncode == 0
    assert sum(killed.values()) >= KILLS, killed
    assert set(killed) >= STAGES, killed
    assert differences(fresh / "results", undisturbed / "results") == []
    done = Counter(jobs_done((fresh / "chain.out").read_text()))
    assert done == Counter(jobs_done((undisturbed / "chain.out").read_text())), "a job that had ended well ran again"
    assert not list((fresh / "results").rglob("*.partial"))
    table(
        f"kill -9 of {sum(killed.values())} jobs at random points ({', '.join(sorted(killed))})",
        "Error in rule ..., with the end of its log; the other jobs go on",
        "the killed jobs",
        "equal",
    )


def test_snakemake_itself_is_killed(fresh, undisturbed, table):
    chain = start(fresh, "--cores", 2)
    while not any("train.py" in command for command in processes(fresh).values()):
        assert chain.poll() is None
        time.sleep(0.1)
    orphans = processes(fresh)
    chain.send_signal(signal.SIGKILL)
    chain.wait()
    assert orphans
    done = jobs_done((fresh / "chain.out").read_text())
    code, text = run(fresh, "--cores", 2)
    assert code == 0, text
    assert "is gone: its lock was removed" in text
    assert differences(fresh / "results", undisturbed / "results") == []
    again = Counter(jobs_done((fresh / "chain.out").read_text())) - Counter(done)
    assert again["catalog_tiny"] == 0
    began = re.search(r"step (\d+) of (\d+)", (fresh / "logs/models/vit_prots_pool/train.log").read_text())
    assert began, "the training that outlived Snakemake was not gone on with"
    assert began[1] == began[2], f"{began[0]}: steps were taken again"
    table(
        "kill -9 of Snakemake; the stale lock that it leaves",
        "The run that had locked ... is gone: its lock was removed",
        "the jobs that ran then; one that outlived Snakemake is waited for, and a training among them takes no step again",
        "equal",
    )


def test_two_runs_at_once_in_one_folder(fresh, undisturbed, table):
    chain = start(fresh, "--cores", 2)
    while not (fresh / ".snakemake" / "locks").is_dir() or not any((fresh / ".snakemake" / "locks").iterdir()):
        time.sleep(0.1)
    code, text = run(fresh, "--cores", 1)
    assert code != 0
    assert "cannot be locked" in text
    assert chain.wait() == 0
    assert differences(fresh / "results", undisturbed / "results") == []
    table("two runs at once in one folder", "the second: Directory cannot be locked", "nothing", "equal")
