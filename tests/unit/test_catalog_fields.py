"""The table of fields, its shards and splits, and the table of what was set aside."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.benchmarks.guards.leakage import check_split
from subcell.catalog.fields import FIELD_COLUMNS, as_fields, assign_shards, read_fields, shard_of, write_fields
from subcell.catalog.set_aside import join_set_aside, read_set_aside, set_aside_table, write_set_aside
from subcell.catalog.splits import assign_split, gene_overlap, read_antibody_lists, split_fields
from subcell.errors import SheetError


def fields(**columns):
    count = len(next(iter(columns.values())))
    return as_fields(pd.DataFrame({"field_id": [f"f{number}" for number in range(count)], **columns}))


def test_fields_have_all_columns_and_none_for_missing_text():
    table = as_fields(pd.DataFrame({"field_id": ["a", "b"], "gene": ["X", float("nan")], "plate": [1, 2]}))
    assert tuple(table.columns) == FIELD_COLUMNS
    assert table["gene"].tolist() == ["X", None]
    assert table["plate"].tolist() == ["1", "2"]
    assert table["well"].tolist() == [None, None]
    assert table["shard"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"field_id": ["a", "a"]}, "'a' occurs more than once"),
        ({"field_id": ["a", None]}, "needs a field_id"),
        ({"gene": ["a"]}, "needs a field_id"),
        ({"field_id": ["a"], "genes": ["x"]}, "no column 'genes'"),
    ],
)
def test_tables_that_are_no_fields(columns, message):
    with pytest.raises(SheetError, match=message):
        as_fields(pd.DataFrame(columns))


def test_the_same_fields_give_the_same_bytes(tmp_path):
    table = fields(gene=["X", None, "Ö<b>"], pixel_size_um=[0.08, 0.32, 0.1])
    write_fields(table, tmp_path / "a.parquet")
    write_fields(table.iloc[::-1].assign(shard=0), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(read_fields(tmp_path / "a.parquet"), table)
    write_fields(table.iloc[:0], tmp_path / "none.parquet")
    both = read_fields([tmp_path / "none.parquet", tmp_path / "a.parquet"])
    pd.testing.assert_frame_equal(both, table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "none.parquet"]


def test_shards_are_a_fixed_function_of_the_id():
    # sha256("800_A6_1") starts with 8 bytes that were computed with sha256sum, not with this code.
    assert shard_of("800_A6_1", 2**64) == 0x9DB3B04E184C0042
    table = assign_shards(fields(gene=["X"] * 200), 4)
    assert set(table["shard"]) == {0, 1, 2, 3}
    assert table["shard"].tolist() == [shard_of(field_id, 4) for field_id in table["field_id"]]


def many(count=600, **columns):
    """Fields of `count` genes, two each."""
    genes = [f"G{number // 2}" for number in range(2 * count)]
    return fields(**{"gene": genes, **columns})


def test_no_gene_is_on_two_sides_and_shares_are_as_asked():
    table = assign_split(many(), "gene", (0.6, 0.15, 0.25))
    assert (table.groupby("gene")["split"].nunique() == 1).all()
    shares = table["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.06)
    assert shares["valid"] == pytest.approx(0.15, abs=0.05)
    assert shares["test"] == pytest.approx(0.25, abs=0.06)
    assert gene_overlap(table)["shared_genes"] == 0


def test_splits_do_not_move_when_fields_are_added_and_do_with_the_seed():
    table = many()
    whole = assign_split(table)["split"]
    part = assign_split(table.iloc[::3])["split"]
    assert (whole[part.index] == part).all()
    assert (whole != assign_split(table, seed=1)["split"]).any()
    joined = pd.concat([table, fields(gene=["G7;G9"]).assign(field_id="new")], ignore_index=True)
    moved = assign_split(joined)["split"][: len(whole)] != whole
    assert set(table["gene"][moved]) <= {"G7", "G9"}


def test_genes_that_share_an_antibody_go_together():
    chain = [f"G{number};G{number + 1}" for number in range(50)]
    assert assign_split(fields(gene=chain))["split"].nunique() == 1


def test_fields_without_gene_follow_their_gene_id_or_antibody():
    table = fields(
        gene=[None, "A", None, "B", None, None, None],
        ensembl_id=["E1", "E1", None, None, None, None, None],
        antibody=[None, None, "HPA1", "HPA1", "HPA2", "HPA2", None],
    )
    for seed in range(20):
        split = assign_split(table, seed=seed)["split"]
        assert split[0] == split[1]
        assert split[2] == split[3]
        assert split[4] == split[5]
        assert split.notna().all()


def test_an_antibody_against_a_tag_does_not_tie_all_genes():
    table = fields(gene=[*(f"G{number}" for number in range(60)), None], antibody=["anti-GFP"] * 61)
    assert assign_split(table)["split"].nunique() == 3


def test_genes_that_share_an_antibody_in_several_rows_go_together():
    """A gene in two spellings, or a family of genes."""
    genes = [f"G{number}" for number in range(40)]
    table = fields(
        gene=[*genes, "TP53", "Tp53", "A", "B"], antibody=[*(f"H{g}" for g in genes), "HPA1", "HPA1", "P;Q", "Q"]
    )
    for seed in range(20):
        split = assign_split(table, seed=seed)["split"].tolist()
        assert split[40] == split[41]
        assert split[42] == split[43]


def test_a_split_of_a_tagged_library_passes_the_check_and_says_that_the_tag_is_not_held_out():
    table = fields(gene=[f"G{number}" for number in range(60)], antibody=["anti-GFP"] * 60)
    said = []
    split = split_fields(table, log=said.append)
    assert split["split"].nunique() == 3
    assert check_split(split, split["split"], by="gene")["antibodies_in_train_and_test"] == 1
    assert "antibody anti-GFP stains most genes" in said[-1]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("ABCDEFGH"), st.sampled_from("abcde")), min_size=1, max_size=30),
    st.integers(0, 9),
)
def test_our_own_split_is_one_that_our_check_accepts(pairs, seed):
    table = fields(gene=[gene for gene, _ in pairs], antibody=[antibody for _, antibody in pairs])
    split = split_fields(table, seed=seed, log=lambda text: None)
    check_split(split, split["split"], by="gene")


def test_given_splits_stay_and_their_gene_follows():
    table = fields(gene=["A", "A", "B", "A"], split=["test", None, None, None])
    for seed in range(10):
        assert assign_split(table, seed=seed)["split"].tolist()[:2] == ["test", "test"]
        assert assign_split(table, seed=seed)["split"][3] == "test"
    table = fields(gene=["A", "A"], split=["test", "train"])
    assert assign_split(table)["split"].tolist() == ["test", "train"]
    assert gene_overlap(table) == {"test_genes": 1, "shared_genes": 1, "shared_fraction": 1.0}


def test_antibodies_can_be_split_instead_of_genes():
    genes = ["G"] * 90
    antibodies = [f"HPA{number // 3}" for number in range(90)]
    table = assign_split(fields(gene=genes, antibody=antibodies), "antibody")
    assert (table.groupby("antibody")["split"].nunique() == 1).all()
    assert table["split"].nunique() == 3


def test_published_lists(tmp_path):
    table = fields(antibody=["HPA1", "HPA2", "HPA3", "HPA4", None], gene=["A", "B", "A", "C", "D"])
    for split, text in (("train", "HPA1\n"), ("valid", "HPA2\r\n"), ("test", "HPA3")):
        (tmp_path / f"{split}_antibodies.txt").write_bytes(text.encode())
    for lists in (read_antibody_lists(tmp_path), {"train": ["HPA1"], "valid": ["HPA2"], "test": ["HPA3"]}):
        table_split = assign_split(table, "paper", lists=lists)
        assert table_split["split"].tolist() == ["train", "valid", "test", None, None]
        assert gene_overlap(table_split)["shared_fraction"] == 1
    said = []
    split_fields(table, by="paper", lists=lists, log=said.append)
    assert "1 of 1 test genes (100.0%) also train" in said[0]
    with pytest.raises(SheetError, match="HPA1' stands in the lists of train and of test"):
        assign_split(table, "paper", lists={"train": ["HPA1"], "valid": [], "test": ["HPA1"]})
    with pytest.raises(SheetError, match="lists of antibodies for valid, test"):
        assign_split(table, "paper", lists={"train": []})
    (tmp_path / "test_antibodies.txt").unlink()
    with pytest.raises(SheetError, match="lacks test_antibodies"):
        read_antibody_lists(tmp_path)


def test_none_leaves_splits_alone_and_wrong_shares_are_refused():
    table = fields(gene=["A", "B"], split=["test", None])
    assert assign_split(table, "none")["split"].tolist() == ["test", None]
    with pytest.raises(SheetError, match="add up to 1"):
        assign_split(table, fractions=(0.6, 0.6, 0.2))
    assert set(split_fields(many(), train=0.7, valid=0.3, log=lambda _: None)["split"]) == {"train", "valid"}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=3), min_size=1, max_size=30), st.integers(0, 99)
)
def test_whatever_genes_share_an_antibody_none_is_on_two_sides(gene_lists, seed):
    table = assign_split(fields(gene=[";".join(genes) for genes in gene_lists]), seed=seed)
    sides = {}
    for genes, split in zip(gene_lists, table["split"], strict=True):
        for gene in genes:
            assert sides.setdefault(gene, split) == split


def test_set_aside_tables_are_written_and_joined(tmp_path):
    one = set_aside_table([{"field_id": '<b>\t"x"', "row": 3, "stage": "sheet", "reason": "line\nbreak"}])
    other = set_aside_table([{"field_id": "y", "stage": "segment", "reason": "1x1"}])
    write_set_aside(one, tmp_path / "one.tsv")
    write_set_aside(set_aside_table(), tmp_path / "none.tsv")
    pd.testing.assert_frame_equal(read_set_aside(tmp_path / "one.tsv"), one)
    none = read_set_aside(tmp_path / "none.tsv")
    assert none.empty
    joined = join_set_aside([one, none, other, one])
    assert joined["field_id"].tolist() == ['<b>\t"x"', "y"]
    assert joined["row"].isna().tolist() == [False, True]
    write_set_aside(joined, tmp_path / "joined.tsv")
    pd.testing.assert_frame_equal(read_set_aside(tmp_path / "joined.tsv"), joined)
    with pytest.raises(ValueError, match="Stages are"):
        set_aside_table([{"field_id": "y", "stage": "lunch", "reason": ""}])
