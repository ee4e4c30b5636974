"""Gene sets, enrichment and its controls, annotation, agreement and findings."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gene_set_files import units, write
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom

from subcell.atlas.clusters.graph import neighbour_distances
from subcell.atlas.clusters.plan import random_vectors
from subcell.atlas.clusters.settings import Settings
from subcell.atlas.knowledge.agreement import agreement_rows, interacting, read_published, sharing
from subcell.atlas.knowledge.annotation import annotate, nearest, score_by_hiding, vote
from subcell.atlas.knowledge.chance import adjust, at_least
from subcell.atlas.knowledge.enrichment import Limits, best_terms, count_and_test, enrich_levels
from subcell.atlas.knowledge.findings import check_findings, read_findings
from subcell.atlas.knowledge.gene_sets import GeneSets, of_columns, of_units, one_per_protein, read_gene_sets
from subcell.atlas.knowledge.knowledge import read_knowledge
from subcell.benchmarks.inputs.pairs import read_references
from subcell.errors import SheetError

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SUBCELL_SHARED", "nowhere")) / "data" / "references"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="SUBCELL_SHARED names no folder with data/references")

GAF = "UniProtKB\tP1\t{gene}\t{qualifier}\t{term}\tPMID:1\t{evidence}\t\tC\tname\t\tprotein\ttaxon:9606\t20250101\t{by}\t\t\n"
OBO = """format-version: 1.2

[Term]
id: GO:1
name: organelle

[Term]
id: GO:2
name: nucleolus
is_a: GO:1 ! organelle

[Term]
id: GO:3
name: rim
relationship: part_of GO:2 ! nucleolus

[Typedef]
id: part_of
name: part of
"""


@pytest.mark.parametrize(
    ("name", "text", "sets", "independent"),
    [
        ("a.gmt", "T1\tabout\tA\tB\nT2\t\tC\n\n", {"T1": "AB", "T2": "C"}, True),
        ("b.gmt.gz", "T1\tabout\tA\n", {"T1": "A"}, True),
        ("pairs.tsv", "term\tgene\nT1\tA\nT1\tB\n", {"T1": "AB"}, True),
        ("go.tsv.gz", "GO:1\t2\tA,B,\nGO:2\t1\tC,\n", {"GO:1": "AB", "GO:2": "C"}, True),
        ("corum.tsv", "ComplexName\tOrganism\tsubunits(Gene name)\nX\tHuman\tA;B\nY\tMouse\tC\n", {"X": "AB"}, True),
        ("new.tsv", "complex_name\torganism\tsubunits_gene_name\nX\tHuman\tA;B\n", {"X": "AB"}, True),
        (
            "hpa.tsv.zip",
            "Gene\tGene name\tMain location\tAdditional location\nE1\tA\tCytosol;Nucleoli\tVesicles\nE2\tB\tCytosol\t\n",
            {"Cytosol": "AB", "Nucleoli": "A", "Vesicles": "A"},
            False,
        ),
    ],
)
def test_gene_sets_of_every_format(tmp_path, name, text, sets, independent):
    found = read_gene_sets(write(tmp_path / name, text), "s")
    assert {term: "".join(sorted(genes)) for term, genes in found.sets.items()} == sets
    assert found.independent is independent


def test_go_annotations_go_up_the_tree_and_leave_out_the_atlas(tmp_path):
    rows = [
        ("A", "", "GO:3", "IDA", "UniProt"),
        ("B", "", "GO:2", "IDA", "HPA"),
        ("C", "NOT|located_in", "GO:2", "IDA", "X"),
    ]
    text = "!gaf-version: 2.2\n" + "".join(
        GAF.format(gene=g, qualifier=q, term=t, evidence=e, by=b) for g, q, t, e, b in rows
    )
    path, tree = write(tmp_path / "goa.gaf.gz", text), write(tmp_path / "go.obo", OBO)
    found = read_gene_sets(path, "GO", ontology=tree)
    assert found.sets == {f"{name} ({term})": {"A"} for name, term in
                          (("organelle", "GO:1"), ("nucleolus", "GO:2"), ("rim", "GO:3"))}  # fmt: skip
    assert found.independent
    everything = read_gene_sets(path, "GO", ontology=tree, exclude_assigned_by=[])
    assert everything.sets["nucleolus (GO:2)"] == {"A", "B"}
    assert not everything.independent
    with pytest.raises(SheetError, match="no gene sets"):
        read_gene_sets(path, "GO", aspect="BP")


def test_terms_of_one_aspect_of_go_lead_to_no_others(tmp_path):
    term = "[Term]\nid: {}\nname: {}\nnamespace: {}\n{}\n"
    tree = "".join(
        [
            term.format("GO:1", "binding", "molecular_function", ""),
            term.format(
                "GO:2", "kinase", "molecular_function", "is_a: GO:1\nrelationship: part_of GO:3 ! signalling\n"
            ),
            term.format("GO:3", "signalling", "biological_process", "is_a: GO:4\n"),
            term.format("GO:4", "process", "biological_process", ""),
        ]
    )
    ontology = write(tmp_path / "go.obo", tree)
    rows = GAF.format(gene="A", qualifier="enables", term="GO:2", evidence="IDA", by="X").replace("\tC\t", "\tF\t")
    path = write(tmp_path / "goa.gaf", rows)
    assert sorted(read_gene_sets(path, "MF", ontology=ontology, aspect="MF").sets) == [
        "binding (GO:1)",
        "kinase (GO:2)",
    ]
    assert len(read_gene_sets(path, "GO", ontology=ontology).sets) == 4, (
        "without an aspect a kinase is part of signalling"
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gmt", "T1\tabout\tA\nT2 A B\n", "line 2.*T2 A B"),
        ("a.tsv", "T1\tA\nT1\tA\tB\tC\n", "line 2.*term and gene"),
        ("a.gaf", "!x\nonly\tthree\tcells\n", "line 2: 3 columns"),
        ("a.tsv", "", "no gene sets"),
    ],
)
def test_a_file_that_is_no_gene_sets_is_named_with_its_line(tmp_path, name, text, message):
    with pytest.raises(SheetError, match=rf"{name}.*{message}"):
        read_gene_sets(write(tmp_path / name, text), "s")
    with pytest.raises(SheetError, match=r"nowhere\.gmt: cannot be read"):
        read_gene_sets(tmp_path / "nowhere.gmt", "s")


def test_compounds_count_each_though_one_antibody_shows_them_all():
    obs = units(["A"] * 4, antibody=["1"] * 4, plate=["P1", "P1", "P2", "P2"])
    tested = {}
    for unit in ("compound", "well"):
        _, _, (plate,) = read_knowledge(obs, Settings(unit=unit))
        tested[unit] = int(plate.tested.sum())
    assert tested == {"compound": 4, "well": 1}


def test_units_that_share_an_antibody_count_once():
    obs = units(["A", "B", "A;B", "C"], antibody=["1", "2", "1;3", None])
    assert one_per_protein(obs).tolist() == [True, True, False, True]
    assert one_per_protein(units(["A", "A", "A;B", "B"])).tolist() == [True, False, False, True]
    member = of_units(GeneSets("s", {"T": frozenset("AC")}), obs)
    assert member.tested.tolist() == [True, False, False, True], "B has no term, A;B has the antibody of A"
    assert member.has.toarray()[:, 0].tolist() == [1, 0, 1, 1]


def test_enrichment_by_hand():
    # Twenty tested units, one that the source does not know; cluster 0 has 4 of the 5 with term T and 1 of the others.
    genes = [f"G{i}" for i in range(21)]
    member = of_units(GeneSets("s", {"T": frozenset(genes[:5]), "rest": frozenset(genes[5:20])}), units(genes))
    labels = np.array([0, 0, 0, 0, 1, 0] + [1] * 14 + [0])
    table = count_and_test(labels, member, Limits()).set_index(["cluster", "term"])
    row = table.loc[(0, "T")]
    assert (row["hits"], row["size"], row["term_size"], row["tested"]) == (4, 5, 5, 20)
    assert row["p_value"] == pytest.approx(hypergeom.sf(3, 20, 5, 5))
    assert row["fold"] == pytest.approx(4 / (5 * 5 / 20))
    assert row["log2_odds"] == pytest.approx(np.log2(4.5 * 14.5 / (1.5 * 1.5)))
    assert row["q_value"] == pytest.approx(
        false_discovery_control(table["p_value"].to_numpy())[table.index.get_loc((0, "T"))]
    )


def test_pairs_without_a_common_unit_count_as_tests():
    genes = [f"G{i}" for i in range(40)]
    sets = {f"T{i}": frozenset(genes[4 * i : 4 * i + 4]) for i in range(10)}
    member = of_units(GeneSets("s", sets), units(genes))
    labels = np.repeat(np.arange(10), 4)
    table = count_and_test(labels, member, Limits())
    assert len(table) == 10
    assert table["q_value"].iloc[0] == pytest.approx(table["p_value"].iloc[0] * 100 / 10)


def test_chances_and_corrections_are_scipys():
    rng = np.random.default_rng(0)
    hits, drawn = rng.integers(0, 6, 50), rng.integers(6, 12, 50)
    np.testing.assert_allclose(at_least(hits, 40, 15, drawn), hypergeom.sf(hits - 1, 40, 15, drawn))
    p_values = rng.random(30) ** 3
    with_ones = false_discovery_control(np.concatenate([p_values, np.ones(70)]))[:30]
    np.testing.assert_allclose(adjust(p_values, 100), with_ones)


def test_nothing_is_found_where_nothing_is_planted():
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(300)]
    sets = {f"T{i}": frozenset(rng.choice(genes, int(rng.integers(4, 40)), replace=False)) for i in range(80)}
    member = of_units(GeneSets("null", sets), units(genes))
    any_found = [
        (count_and_test(rng.integers(12, size=300), member, Limits())["q_value"] <= 0.05).any() for _ in range(100)
    ]
    assert np.mean(any_found) <= 0.05


def test_antibodies_of_one_gene_are_one_statement():
    """Three antibodies of each gene lie together; sets of four random genes are no more enriched for that."""
    rng = np.random.default_rng(0)
    genes = [f"G{i:03d}" for i in range(100)]
    obs = units(np.repeat(genes, 3), antibody=[f"A{i}" for i in range(300)])
    any_found = []
    for _ in range(40):
        sets = {f"T{i}": frozenset(rng.choice(genes, 4, replace=False)) for i in range(60)}
        member = of_units(GeneSets("null", sets), obs)
        labels = np.repeat(rng.integers(12, size=100), 3)
        any_found.append((count_and_test(labels, member, Limits())["q_value"] <= 0.05).any())
    assert np.mean(any_found) <= 0.05
    alone = of_units(GeneSets("s", {"T": frozenset(["G000"]), "rest": frozenset(genes[1:])}), obs)
    assert set(count_and_test(np.repeat(np.arange(100) // 10, 3), alone, Limits())["term"]) == {"rest"}


@pytest.fixture(scope="module")
def grouped():
    """120 units in 6 groups: their table, vectors, true terms and clusters."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(6), 20)
    points = (4 * np.eye(6, 12)[group] + 0.5 * rng.normal(size=(120, 12))).astype(np.float32)
    obs = units([f"G{i:03d}" for i in range(120)], antibody=[f"A{i}" for i in range(120)],
                locations=[f"place {g}" for g in group], plate=[f"p{i % 4}" for i in range(120)])  # fmt: skip
    sets = GeneSets("s", {f"term {g}": frozenset(obs["gene"][group == g]) for g in range(6)})
    return obs, points, of_units(sets, obs), group


def test_controls_stand_beside_what_is_found(grouped):
    obs, _, member, group = grouped
    plate = of_columns(obs, "plate", independent=True, control=True)
    found, summary = enrich_levels(
        np.array([group]), [member, plate], Limits(shuffles=19), random=np.array([group[::-1] * 0])
    )
    real = found[(found["source"] == "s") & (found["q_value"] < 0.05)]
    assert sorted(real["term"]) == [f"term {g}" for g in range(6)]
    assert (real["shuffled_p"] == 1 / 20).all()
    rows = summary.set_index("source")
    assert rows.loc["s", "significant"] == 6
    assert rows.loc["plate", "significant"] == 0
    assert rows.loc["plate", "negative_control"]
    assert rows.loc["s", "random_significant"] == 0
    assert rows.loc["s", "shuffled_significant"] < 0.5
    names = best_terms(found, 0.05)
    assert names.loc[(1, "3"), "term"] == "term 2"


def test_hidden_terms_come_back_better_than_by_chance(grouped):
    obs, points, member, _ = grouped
    near = nearest(neighbour_distances(points, 15, 0), obs)
    chance = nearest(neighbour_distances(random_vectors(120, 0), 15, 0), obs)
    table = score_by_hiding(obs, near, chance, [member], Limits()).set_index("method")
    assert table.loc["map", "average_precision"] > 0.95
    assert table.loc["map", "precision_at_fdr"] > 0.95
    assert table.loc["map", "recall_at_fdr"] > 0.9
    assert (table.loc[["label frequency", "random embedding"], "average_precision"] < 0.3).all()
    assert table.loc["map", "units"] == 120


def test_annotation_names_disagreement(grouped):
    obs, points, member, _ = grouped
    obs = obs.copy()
    obs.loc[obs.index[0], "locations"] = "place 5"
    obs.loc[obs.index[1], "locations"] = None
    near = nearest(neighbour_distances(points, 15, 0), obs)
    table = annotate(obs, near, of_columns(obs, "locations", independent=False), [member], Limits()).set_index("unit")
    assert table.loc["u000", "predicted_locations"] == "place 0"
    assert table.loc["u000", "disagrees"] == "True"
    assert table.loc["u001", "predicted_locations"] == "place 0"
    assert table.loc["u001", "disagrees"] == ""
    assert table.loc["u050", "disagrees"] == "False"
    assert table.loc["u050", "transferred_terms"] == "s: term 2"
    assert (table["transferred_q_values"].str.split(";").str[0].astype(float) <= 0.05).all()


def test_a_unit_does_not_vote_for_itself_nor_for_its_antibodys_others():
    obs = units(["A", "B", "A", "C"], antibody=["1", "2", "3", "2"])
    distances = sparse.csr_array(np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))))
    near = nearest(distances, obs).toarray()
    assert near.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    member = of_units(GeneSets("s", {"T": frozenset("A")}), obs)
    table = vote(sparse.csr_array(near), member, Limits(min_term=1))
    assert sorted(table["unit"]) == [1, 3]
    assert vote(sparse.csr_array(near), member, Limits(min_term=100)).empty


def test_agreement_counts_related_pairs(tmp_path):
    obs = units(["A", "B", "C", "D", "E"], antibody=["1", "2", "3", "4", "4"], locations=["x", "x", "y", "y", "y"])
    pairs = sharing(of_columns(obs, "locations", independent=False), obs)
    assert pairs.rows.tolist() == [[0, 1], [2, 3]], "E has D's antibody and is not tested"
    path = write(tmp_path / "i.csv.gz", "target,prey,pInt\nA,B,0.9\nB,C,0.2\nD,E,1\nQ,A,1\n")
    interactions = interacting(path, "ppi", obs, min_score=0.5)
    assert interactions.rows.tolist() == [[0, 1]], "D and E share an antibody"
    published = read_published(write(tmp_path / "p.tsv", "Gene\tCluster_level_1\nA\t1\nB\t1\nC\t2\nD\t2\n"), obs)
    labels = np.array([[0, 0, 1, 2, 2]])
    table = agreement_rows(labels, [1.0], [1], [pairs, interactions], published=published).set_index("reference")
    assert table.loc["locations", "value"] == 0.5
    assert table.loc["locations", "shuffled"] == pytest.approx(2 / 12)
    assert (table["clusters"] == 3).all()
    assert table.loc["ppi", "value"] == 1
    assert table.loc["published clusters", "value"] == pytest.approx(4 / 7)


def test_findings_are_scored_and_those_that_cannot_are_named(grouped, tmp_path):
    obs, points, _, group = grouped
    obs = obs.assign(locations="Cytosol")
    rows = [
        ("together", "first", "", "Cytosol", ";".join(obs["gene"][group == 0][:8])),
        ("apart", "second", "third", "Cytosol", ";".join(obs["gene"][group == 1][:8])),
        ("apart", "third", "second", "Cytosol", ";".join(obs["gene"][group == 2][:8])),
        ("scattered", "fourth", "", "Cytosol", ";".join(obs["gene"][5::20])),
        ("missing", "fifth", "", "Cytosol", "X;Y;Z"),
    ]
    text = "# comment\n" + "\n".join(
        "\t".join(row) for row in [("finding", "set", "contrast", "locations", "genes"), *rows]
    )
    findings = read_findings(write(tmp_path / "f.tsv", text))
    table = check_findings(findings, obs, points, np.array([group * 0, group // 2, group])).set_index("set")
    assert table.loc["first", "auroc"] > 0.9
    assert table.loc["first", "auroc_p_value"] < 0.01
    assert table.loc["first", "auroc_shuffled"] == pytest.approx(0.5, abs=0.1)
    assert table.loc["first", "first_level_apart"] == 2
    assert table.loc["second", "first_level_apart"] == 2, "the groups of the two sets part at the second level"
    assert table.loc["fourth", "auroc_p_value"] > 0.05
    assert pd.isna(table.loc["fourth", "first_level_apart"])
    assert table.loc["fifth", "not_run"].startswith("needs 3 genes")
    with pytest.raises(SheetError, match="no column contrast"):
        read_findings(write(tmp_path / "g.tsv", "finding\tset\tlocations\tgenes\n"))


def test_the_shipped_findings_can_be_read():
    table = read_findings(ROOT / "resources" / "paper_findings.tsv")
    assert set(table["finding"]) == {"cytosolic ribosome", "microtubules", "nuclear envelope"}
    for genes in table["genes"]:
        names = genes.split(";")
        assert len(names) == len(set(names)) >= 15


@shared
def test_real_references_have_the_right_counts():
    go = read_gene_sets(SHARED / "go_cc_without_hpa.tsv.gz", "GO CC")
    with gzip.open(SHARED / "go_cc_without_hpa.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    assert len(go.sets) == len({row[0] for row in rows})
    assert {term: len(genes) for term, genes in go.sets.items()} == {
        row[0]: len(set(row[2].strip(",").split(","))) for row in rows
    }
    corum = read_gene_sets(SHARED / "corum_core_complexes.tsv.gz", "CORUM")
    table = pd.read_csv(SHARED / "corum_core_complexes.tsv.gz", sep="\t", dtype=str)
    human = table[table["Organism"] == "Human"]
    assert len(corum.sets) == human["ComplexName"].nunique()
    assert {"PSMA1", "PSMB5"} <= corum.sets["20S proteasome"]
    hpa = read_gene_sets(SHARED / "hpa_subcellular_location.tsv.gz", "HPA")
    assert not hpa.independent
    locations = pd.read_csv(SHARED / "hpa_subcellular_location.tsv.gz", sep="\t", dtype=str)
    main = locations["Main location"].fillna("") + ";" + locations["Additional location"].fillna("")
    in_nucleoli = main.str.split(";").map(lambda names: "Nucleoli" in names)
    assert len(hpa.sets["Nucleoli"]) == locations.loc[in_nucleoli, "Gene name"].nunique()
    genes = sorted({gene for term in hpa.sets.values() for gene in term})
    pairs = interacting(SHARED / "bioplex_3.csv.gz", "BioPlex", units(genes), min_score=0.75)
    table = pd.read_csv(SHARED / "bioplex_3.csv.gz")
    strong = table[(table["pInt"] >= 0.75) & table["target"].isin(genes) & table["prey"].isin(genes)]
    strong = strong[strong["target"] != strong["prey"]]
    assert len(pairs.rows) == len({frozenset(pair) for pair in zip(strong["target"], strong["prey"], strict=True)})
    [reference] = read_references(SHARED / "bioplex_3.csv.gz", "BioPlex", min_score=0.75)
    assert reference.known == {*table["target"], *table["prey"]}
    strong = table[(table["pInt"] >= 0.75) & (table["target"] != table["prey"])]
    assert len(reference.pairs) == len({frozenset(pair) for pair in zip(strong["target"], strong["prey"], strict=True)})
