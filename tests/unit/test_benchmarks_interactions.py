"""Interactions: complexes that look alike are told from proteins of the same locations, others are not."""

import numpy as np
import pandas as pd
import pytest
from planted_cells import score

from subcell.benchmarks.inputs.pairs import draw_pairs, fold_of_genes, read_references
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.tasks import interactions
from subcell.benchmarks.tasks.interactions import recall_at_precision
from subcell.errors import SheetError

PLACES = ("Cytosol", "Mitochondria", "Nucleoli", "Nucleoplasm")
NUMBERS = 16
GENES, MEMBERS = 96, 4


def proteome(rng, *, likeness=1.5, location=3.0):
    """Cells of proteins of four locations, in complexes of four within a location; half of the complexes look alike."""
    places = rng.normal(0, location, (len(PLACES), NUMBERS))
    of_complex = rng.normal(0, 1, (GENES // MEMBERS, NUMBERS))
    rows, vectors, members = [], [], []
    for gene in range(GENES):
        number = gene // MEMBERS
        separable = number % 2 == 0
        place = (number // 2) % len(PLACES)
        middle = places[place] + rng.normal(0, 1, NUMBERS)
        # Every protein has a pattern of its own size; only those of separable complexes share it.
        middle = middle + likeness * (of_complex[number] if separable else rng.normal(0, 1, NUMBERS))
        members.append((f"complex {number}", f"G{gene:03d}", "true" if separable else "false"))
        for line in ("U-2 OS", "HeLa")[: 1 + gene % 2]:
            for cell in range(3):
                rows.append(
                    {
                        "cell_id": f"{gene}_{line}:{cell}",
                        "field_id": f"{gene}_{line}",
                        "gene": f"G{gene:03d}",
                        "antibody": f"HPA{gene:05d}",
                        "cell_line": line,
                        "plate": f"{line} {gene % 3}",
                        "locations": PLACES[place],
                    }
                )
                vectors.append(middle + 4 * (line == "HeLa") + rng.normal(0, 0.5, NUMBERS))
    complexes = pd.DataFrame(members, columns=["complex", "gene", "separable"])
    return pd.DataFrame(rows).set_index("cell_id"), np.array(vectors), complexes


def written(folder, complexes):
    folder.mkdir(parents=True, exist_ok=True)
    complexes.to_csv(folder / "complexes.tsv", sep="\t", index=False)
    return folder


def test_complexes_that_look_alike_are_found_and_others_are_not(tmp_path):
    obs, vectors, complexes = proteome(np.random.default_rng(0))
    scores, result, table = score(interactions, tmp_path, obs, vectors, truth=written(tmp_path, complexes))
    assert next(iter(scores)) == "cosine_auroc"
    assert scores["cosine_auroc"]["value"] > 0.8
    assert scores["classifier_auroc"]["value"] > 0.65
    assert scores["cosine_ap"]["value"] > 3 * scores["cosine_ap"]["chance"]
    assert scores["cosine_recall_at_0.5"]["value"] > scores["cosine_recall_at_0.5"]["chance"]
    other = scores["complexes_not_separable_cosine_auroc"]
    assert other["low"] < 0.5 < other["high"]
    assert result["details"]["complexes"]["related_pairs"] == 12 * 6
    assert result["details"]["complexes"]["unrelated_pairs_matched"]["locations"] == 1
    assert table.groupby("reference")["related"].sum().tolist() == [72, 72]
    assert scores["cosine_auroc"]["n"] == len(
        {g for u in table["unit"][table["reference"] == "complexes"] for g in u.split("|")}
    )


def test_location_alone_does_not_tell_pairs_apart():
    values = {"cosine": [], "classifier": []}
    for seed in range(50):
        obs, vectors, complexes = proteome(np.random.default_rng(seed), likeness=0)
        number = {gene: place for place, gene in enumerate(sorted(complexes["gene"]))}
        cells = interactions.frozen.Cells(vectors.astype(np.float32), obs)
        seen, about = interactions.proteins(cells)
        pairs = [
            (number[a], number[b]) for _, of in complexes.groupby("complex")["gene"] for a in of for b in of if a < b
        ]
        related = np.array(pairs)
        fold = fold_of_genes(related, list(about["locations"]), folds=4, seed=seed)
        drawn = draw_pairs(related, about, fold, negatives=2, seed=seed)
        for name, of in (
            ("cosine", interactions.cosine_scores(seen, drawn.pairs)),
            ("classifier", interactions.classifier_scores(seen, drawn, seed=seed) if seed < 15 else None),
        ):
            if of is not None:
                values[name].append(interactions.macro_auc(drawn.related[:, None], of[:, None], np.ones(len(of)))[0])
    for found in values.values():
        assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / np.sqrt(len(found))


def test_both_proteins_of_a_test_pair_are_unseen():
    rng = np.random.default_rng(0)
    related = np.array(
        [(a, b) for start in range(0, 40, 4) for a in range(start, start + 4) for b in range(a + 1, start + 4)]
    )
    about = pd.DataFrame(
        {
            "locations": [frozenset({PLACES[n % 2]}) for n in range(60)],
            "plates": [frozenset({str(n % 3)}) for n in range(60)],
            "antibodies": [frozenset({f"HPA{n // 2 if n < 8 else n + 100}"}) for n in range(60)],
        }
    )
    fold = fold_of_genes(related, list(about["locations"]), folds=5, seed=0)
    assert (fold[related[:, 0]] == fold[related[:, 1]]).all()
    assert (np.abs(np.bincount(fold) - 12) <= 4).all()
    drawn = draw_pairs(related, about, fold, negatives=3, seed=1)
    assert (fold[drawn.pairs[:, 0]] == fold[drawn.pairs[:, 1]]).all()
    keys = {tuple(pair) for pair in related.tolist()}
    others = [tuple(sorted(pair)) for pair in drawn.pairs[~drawn.related].tolist()]
    assert not keys & set(others)
    assert len(set(others)) == len(others)
    for a, b in drawn.pairs.tolist():
        assert not about["antibodies"][a] & about["antibodies"][b]
    again = draw_pairs(related, about, fold, negatives=3, seed=1)
    assert (again.pairs == drawn.pairs).all()
    baits = rng.random(60) < 0.3
    tested = draw_pairs(related, about, fold, negatives=3, seed=1, baits=baits)
    assert baits[tested.pairs[~tested.related]].any(axis=1).all()


def test_a_web_of_interactions_is_cut_into_folds():
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a in range(200) for b in range(a + 1, 200) if a % 10 == b % 10 and rng.random() < 0.3]
    bridges = [(a, a + 1) for a in range(0, 190, 10)]
    fold = fold_of_genes(np.array(pairs + bridges), [frozenset()] * 200, folds=5, seed=0)
    assert np.bincount(fold).max() < 80
    inside = fold[np.array(pairs)]
    assert (inside[:, 0] == inside[:, 1]).mean() > 0.9


def test_recall_is_the_most_at_a_precision():
    truth = np.array([True, True, False, True, False, False])
    scores = np.array([6.0, 5, 4, 3, 2, 1])
    once = np.ones((1, 6))
    assert recall_at_precision(truth, scores, once, 0.9)[0] == pytest.approx(2 / 3)
    assert recall_at_precision(truth, scores, once, 0.75)[0] == 1
    assert recall_at_precision(truth, -scores, once, 0.9)[0] == 0


def test_sources_of_pairs_are_read(tmp_path):
    (tmp_path / "string.tsv").write_text("a\tb\tscore\nB\tA\t900\nA\tC\t300\nD\tD\t999\n")
    [string] = read_references(tmp_path / "string.tsv", "string", min_score=700)
    assert string.pairs == {("A", "B")}
    assert string.known == {"A", "B", "C", "D"}
    (tmp_path / "corum.gmt").write_text("one\tx\tA\tB\tC\n")
    [corum] = read_references(tmp_path / "corum.gmt", "corum")
    assert corum.pairs == {("A", "B"), ("A", "C"), ("B", "C")}
    (tmp_path / "baits.txt").write_text("A\n")
    (tmp_path / "bioplex.csv").write_text("bait,prey\nA,B\n")
    [bioplex] = read_references(tmp_path / "bioplex.csv", "bioplex", baits=tmp_path / "baits.txt")
    assert bioplex.baits == {"A"}
    (tmp_path / "bad.tsv").write_text("a\tb\tscore\nA\tB\thigh\n")
    with pytest.raises(SheetError, match="line 2"):
        read_references(tmp_path / "bad.tsv", "bad")


def test_several_sources_have_their_own_scores(tmp_path):
    obs, vectors, complexes = proteome(np.random.default_rng(0))
    first = complexes[complexes["separable"] == "true"].drop(columns="separable")
    first.to_csv(tmp_path / "corum.tsv", sep="\t", index=False)
    pairs = [tuple(of[:2]) for _, of in first.groupby("complex")["gene"].agg(list).items()]
    (tmp_path / "bioplex.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in pairs))
    scores, _, _ = score(
        interactions,
        tmp_path,
        obs,
        vectors,
        files=[tmp_path / "corum.tsv", tmp_path / "bioplex.csv"],
        pairs=[{"name": "corum"}, {"name": "bioplex", "min_score": 0, "baits": None}],
    )
    assert scores["cosine_auroc"]["value"] > 0.8
    assert scores["bioplex_cosine_auroc"]["value"] > 0.7


def test_what_differs_by_line_alone_makes_no_protein_differ():
    obs, _, _ = proteome(np.random.default_rng(0))
    obs["cell_line"] = np.resize(["HeLa", "U-2 OS", "A-431"], len(obs))
    by_line = np.array([[0.1, 3.3], [0.7, 1e3], [0.3, 7.7]], np.float32)[pd.factorize(obs["cell_line"])[0]]
    vectors, _ = interactions.proteins(frozen.Cells(by_line, obs))
    assert (vectors == 0).all()


def test_perfect_features_are_found(tmp_path):
    obs, _, complexes = proteome(np.random.default_rng(0))
    folder = written(tmp_path, complexes)
    scores, _, _ = score(interactions, tmp_path, obs, interactions.perfect_features(obs, truth=folder), truth=folder)
    assert scores["cosine_auroc"]["value"] > 0.99


def test_what_is_missing_is_said(tmp_path):
    obs, vectors, complexes = proteome(np.random.default_rng(0))
    _, result, _ = score(interactions, tmp_path, obs, vectors)
    assert result["reason"] == "needs complexes or a list of interactions"
    folder = written(tmp_path, complexes)
    _, result, _ = score(interactions, tmp_path, obs.drop(columns="gene"), vectors, truth=folder)
    assert result["reason"] == "needs gene"
    folder = written(tmp_path, complexes.assign(gene="X" + complexes["gene"]))
    _, result, _ = score(interactions, tmp_path, obs, vectors, truth=folder)
    assert result["reason"].startswith("needs 10 related pairs of proteins in complexes (found 0")
