"""Lists of interacting genes: as BioPlex and STRING publish them, and plain ones."""

import numpy as np
import pytest
from gene_set_files import units, write

from subcell.atlas.knowledge.agreement import interacting
from subcell.atlas.knowledge.interactions import read_interactions
from subcell.benchmarks.inputs.pairs import read_references
from subcell.errors import SheetError

BIOPLEX = (
    "GeneA\tGeneB\tUniprotA\tUniprotB\tSymbolA\tSymbolB\tpW\tpNI\tpInt\n"
    '"100"\t"728378"\t"P00813"\t"A5A3E0"\t"ADA"\t"POTEF"\t2.3e-09\t0.0001\t0.9998\n'
    '"222389"\t"6137"\t"Q8N7W2-2"\t"P26373"\t"BEND7"\t"RPL13"\t3.2e-06\t0.2256\t0.7743\n'
)
STRING = "protein1 protein2 combined_score\n9606.ENSP01 9606.ENSP02 900\n9606.ENSP02 9606.ENSP03 155\n"
INFO = (
    "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n9606.ENSP01\tADA\t9\tx y\n9606.ENSP02\tRPL13\t9\tz\n"
)


@pytest.mark.parametrize(
    ("name", "text", "pairs"),
    [
        ("BioPlex_293T.tsv", BIOPLEX, [("ADA", "POTEF", 0.9998), ("BEND7", "RPL13", 0.7743)]),
        ("BioPlex_293T.tsv.gz", BIOPLEX, [("ADA", "POTEF", 0.9998), ("BEND7", "RPL13", 0.7743)]),
        ("reshaped.csv", "target,prey,pInt\nADA,POTEF,0.5\n", [("ADA", "POTEF", 0.5)]),
        ("no_header.tsv", "ADA\tPOTEF\t0.5\nA\tB\t1\n", [("ADA", "POTEF", 0.5), ("A", "B", 1)]),
        ("no_scores.txt", "ID1 ID2\n\nADA POTEF\n", [("ID1", "ID2", np.inf), ("ADA", "POTEF", np.inf)]),
        ("titles.csv", "Gene_A,Gene_B\nADA,POTEF\n", [("ADA", "POTEF", np.inf)]),
        ("quoted.csv", '"ADA","POTEF","1e-3"\n', [("ADA", "POTEF", 0.001)]),
        ("empty.tsv", "\n", []),
    ],
)
def test_interactions_are_read_as_they_are_published(tmp_path, name, text, pairs):
    assert list(read_interactions(write(tmp_path / name, text))) == pairs


def test_proteins_of_string_get_their_genes(tmp_path):
    links, info = write(tmp_path / "links.txt.gz", STRING), write(tmp_path / "info.txt.gz", INFO)
    assert list(read_interactions(links, aliases=info)) == [("ADA", "RPL13", 900), ("RPL13", "9606.ENSP03", 155)]
    assert interacting(links, "STRING", units(["RPL13", "X", "ADA"]), aliases=info).rows.tolist() == [[0, 2]]
    [reference] = read_references(links, "STRING", min_score=700, aliases=info)
    assert reference.pairs == {("ADA", "RPL13")}
    with pytest.raises(SheetError, match=r"links.*line 2: 9606.ENSP01 is STRING's id.*protein.info as `aliases`"):
        list(read_interactions(links))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\nA,B,much\n", r"line 2: 'A,B,much'; expected .*two genes and, in a third column, a score"),
        ("a,b,c\nA\n", r"line 2: 'A'"),
        ("A,,0.5\n", r"line 1: 'A,,0.5'"),
        ("x,y,z,score\nA,B,C,1\n", r"columns x, y, z, score; expected the columns SymbolA, SymbolB and pInt"),
        ("alone\n", r"columns alone"),
    ],
)
def test_a_list_of_interactions_that_cannot_be_read_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(SheetError, match=rf"bad\.csv.*{message}"):
        list(read_interactions(write(tmp_path / "bad.csv", text)))
