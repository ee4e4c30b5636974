"""Speed of what the benchmarks compute, and that it is the same.

    .venv/bin/python speed/scoring.py                              200,000 cells x 1,536, ten seeds: 5 minutes
    .venv/bin/python speed/scoring.py --cells 4000 --features 256  the demo's size
    .venv/bin/python speed/scoring.py --device cuda                on a GPU

SIMULATED vectors and labels. The MLP: all seeds as one batched network (`subcell.benchmarks.probes.mlp.fit_mlps`) against as many
runs of the same network one after another in plain PyTorch (nn.Linear, nn.Dropout, AdamW, torchvision's focal loss), for the
same number of epochs, validation included, on as many threads (`--threads`). `alike` is the largest difference between a
classifier that was trained beside others and the same one trained alone. Resamples: macro AP with its bootstrap against
scikit-learn's average_precision_score in a loop. Mantel: 999 orders against scikit-bio's `mantel`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import argparse  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402

CLASSES = 31
PEER_RESAMPLES = 20


def example(cells: int, features: int):
    """Vectors and labels; half of the cells train, an eighth chooses, the rest tests."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((cells, features), np.float32)
    signal = vectors[:, :64] @ rng.standard_normal((min(64, features), CLASSES), np.float32)
    truth = signal + 4 * rng.standard_normal((cells, CLASSES), np.float32) > 12
    place = np.arange(cells) / cells
    return vectors, truth, {"train": place < 0.5, "valid": (place >= 0.5) & (place < 0.625), "test": place >= 0.625}


def one_by_one(vectors, truth, sides, *, seeds, batch_size, epochs, device) -> None:
    """The same training in plain PyTorch, a seed after another."""
    import torch
    from torch import nn
    from torchvision.ops import sigmoid_focal_loss

    from subcell.benchmarks.statistics.metrics import macro_ap

    x, x_valid, x_test = (torch.from_numpy(vectors[sides[name]]).to(device) for name in ("train", "valid", "test"))
    y = torch.from_numpy(truth[sides["train"]].astype(np.float32)).to(device)
    once = np.ones((1, int(sides["valid"].sum())))
    for seed in seeds:
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(vectors.shape[1], 512), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, CLASSES)),
        ).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
        for _ in range(epochs):
            network.train()
            for rows in torch.randperm(len(x)).split(batch_size):
                optimiser.zero_grad()
                sigmoid_focal_loss(network(x[rows]), y[rows], alpha=0.25, gamma=2, reduction="mean").backward()
                optimiser.step()
            network.eval()
            with torch.no_grad():
                said = torch.cat([network(part).sigmoid() for part in x_valid.split(8192)]).cpu().numpy()
            macro_ap(truth[sides["valid"]], said, once)
        with torch.no_grad():
            torch.cat([network(part).sigmoid() for part in x_test.split(8192)]).cpu().numpy()


def heads(arguments) -> None:
    """All seeds at once, against one after another."""
    import torch

    from subcell.benchmarks.probes import mlp

    mlp.THREADS = arguments.threads
    torch.set_num_threads(arguments.threads)
    vectors, truth, sides = example(arguments.cells, arguments.features)
    seeds = range(arguments.seeds)
    options = {"batch_size": arguments.batch, "epochs": arguments.epochs, "device": arguments.device}
    name = f"MLP, {arguments.seeds} seeds, {arguments.cells} x {arguments.features}, {arguments.epochs} epochs"
    start = time.perf_counter()
    together = mlp.fit_mlps(vectors, truth, **sides, seeds=seeds, **options)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    one_by_one(vectors, truth, sides, seeds=seeds, **options)
    peer = time.perf_counter() - start
    row(name, ours, peer, "s", peer / ours)
    last = arguments.seeds - 1
    (alone,) = mlp.fit_mlps(vectors, truth, **sides, seeds=[last], **options)
    difference = np.abs(alone.probabilities - together[last].probabilities).max()
    row(
        "MLP, trained beside others or alone: alike", f"{difference:.2g}", "", "largest difference of a probability", ""
    )


def resamples(arguments) -> None:
    """Macro AP of one resample."""
    from sklearn.metrics import average_precision_score

    from subcell.benchmarks.statistics.bootstrap import bootstrap_metric, draw_units
    from subcell.benchmarks.statistics.metrics import macro_ap

    rng = np.random.default_rng(0)
    many = min(arguments.cells, 20_000)
    truth, scores, units = rng.random((many, 10)) < 0.2, rng.random((many, 10)), np.arange(many) // 50
    start = time.perf_counter()
    found = bootstrap_metric(macro_ap, truth, scores, units, bootstraps=200, seed=0)
    ours = (time.perf_counter() - start) / 200 * 1000
    draws = draw_units(int(units.max()) + 1, bootstraps=200, seed=0)[:PEER_RESAMPLES]
    start = time.perf_counter()
    theirs = [average_precision_score(truth, scores, sample_weight=draw[units]) for draw in draws]
    peer = (time.perf_counter() - start) / PEER_RESAMPLES * 1000
    assert np.allclose(theirs, found.replicates[:PEER_RESAMPLES])
    row(f"macro AP of a resample, {many} cells x 10 classes", ours, peer, "ms", peer / ours)


def orders() -> None:
    """Mantel's test of 20 things."""
    from skbio import DistanceMatrix
    from skbio.stats.distance import mantel as peer_mantel

    from subcell.benchmarks.statistics.mantel import mantel

    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 20, 3))
    one, other = (np.linalg.norm(part[:, None] - part[None], axis=2) for part in points)
    start = time.perf_counter()
    found = mantel(one, other, orders=999)
    ours = (time.perf_counter() - start) * 1000
    matrices = DistanceMatrix(one), DistanceMatrix(other)
    start = time.perf_counter()
    r, _, _ = peer_mantel(*matrices, permutations=999, alternative="greater")
    peer = (time.perf_counter() - start) * 1000
    assert np.isclose(found.r, r)
    row("Mantel, 20 things, 999 orders", ours, peer, "ms", peer / ours)


def row(case: str, ours, peer, unit: str, ratio) -> None:
    texts = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in (ours, peer)]
    print(case, *texts, unit, f"{ratio:.2f}" if isinstance(ratio, float) else "", sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=1536)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="what the benchmarks themselves use")
    arguments = parser.parse_args()
    print("case", "ours", "peer", "unit", "ratio", sep="\t")
    resamples(arguments)
    orders()
    heads(arguments)


if __name__ == "__main__":
    main()
