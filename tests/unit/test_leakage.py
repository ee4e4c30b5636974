"""The guard of the split: what is on both sides is named; the same image under two names is found."""

import pandas as pd
import pytest

from subcell.benchmarks.guards.leakage import check_dataset, check_split
from subcell.errors import SubcellError
from subcell.imaging.ledger import ledger_table

FIELDS = pd.DataFrame(
    {
        "field_id": ["a", "b", "c", "d"],
        "antibody": ["HPA1", "HPA1", "HPA2", "HPA3"],
        "gene": ["G1", "G1", "G2", "G3"],
        "split": ["train", "train", "valid", "test"],
    }
)


def ledger(**same):
    """Images of all fields and channels, each its own, but for `field=other`: the protein image of another field."""
    return ledger_table(
        {"field_id": name, "channel": channel, "file": f"{name}_{channel}.png", "status": "ok",
         "sha256": f"{channel}-{same.get(name, name) if channel == 'protein' else name}"}
        for name in FIELDS["field_id"]
        for channel in ("nucleus", "protein")
    )  # fmt: skip


@pytest.mark.parametrize(("column", "plural"), [("antibody", "antibodies"), ("gene", "genes"), ("field_id", "fields")])
def test_anything_on_both_sides_is_named(column, plural):
    leaky = FIELDS.assign(**{column: ["x", "y", "z", "x"]})
    with pytest.raises(SubcellError, match=rf"1 {plural} are both in the training.*\(x\)"):
        check_split(leaky, leaky["split"], by="gene")


def test_an_antibody_against_a_tag_may_be_on_both_sides_and_its_genes_may_not():
    tagged = FIELDS.assign(antibody="anti-GFP", gene=["G1", "G2", "G3", "G4"])
    assert check_split(tagged, tagged["split"], by="gene")["antibodies_in_train_and_test"] == 1
    with pytest.raises(SubcellError, match="1 antibodies"):
        check_split(tagged, tagged["split"], by="antibody")
    with pytest.raises(SubcellError, match="1 genes"):
        check_split(tagged.assign(gene=["G1", "G2", "G3", "G1"]), tagged["split"], by="gene")


def test_the_validation_part_trains_too():
    leaky = FIELDS.assign(gene=["G1", "G1", "G3", "G3"])
    with pytest.raises(SubcellError, match=r"genes are both"):
        check_split(leaky, leaky["split"], by="gene")


def test_vectors_without_fields_are_split_by_what_is_known():
    cells = FIELDS.assign(field_id="all")
    assert check_split(cells, cells["split"], by="gene") == {
        "antibodies_in_train_and_test": 0, "genes_in_train_and_test": 0,
    }  # fmt: skip
    with pytest.raises(SubcellError, match="genes are both"):
        check_split(cells.assign(gene="G1"), cells["split"], by="gene")


def test_published_lists_share_genes_and_nothing_else():
    shared = FIELDS.assign(gene=["G1", "G1", "G2", "G1"])
    assert check_split(shared, shared["split"], by="paper")["genes_in_train_and_test"] == 1
    with pytest.raises(SubcellError, match="antibodies"):
        check_split(shared.assign(antibody="HPA1"), shared["split"], by="paper")


def test_a_clean_dataset_is_reported(tmp_path):
    check_dataset(FIELDS, [ledger()], by="gene", dataset="d", out_tsv=tmp_path / "leakage.tsv")
    table = pd.read_csv(tmp_path / "leakage.tsv", sep="\t")
    assert table["checked"].tolist() == ["fields", "antibodies", "genes", "images by hash"]
    assert (table["on_both_sides"] == 0).all()
    assert table.loc[table["checked"] == "images by hash", ["train", "test"]].to_numpy().tolist() == [[4, 2]]


def test_the_same_image_under_two_names_is_found(tmp_path):
    out = tmp_path / "leakage.tsv"
    with pytest.raises(SubcellError, match=r"1 images are the same file on both sides.*protein of a, d"):
        check_dataset(FIELDS, [ledger(d="a")], by="gene", dataset="d", out_tsv=out)
    assert not out.exists()
    check_dataset(FIELDS, [ledger(b="a")], by="gene", dataset="d", out_tsv=out)  # both train: no leak


def test_planes_of_one_file_and_a_stain_that_is_missing_are_no_twins(tmp_path):
    stack = ledger().assign(sha256="one file", plane=[f"c={number}" for number in range(8)])
    check_dataset(FIELDS, [stack], by="gene", dataset="d", out_tsv=tmp_path / "a.tsv")
    blank = ledger()
    blank.loc[blank["channel"] == "nucleus", "sha256"] = "all black"
    check_dataset(FIELDS, [blank], by="gene", dataset="d", out_tsv=tmp_path / "b.tsv")


def test_what_could_not_be_checked_is_said(tmp_path):
    """Nothing is counted as not shared that nobody looked at."""
    check_dataset(FIELDS.assign(split=None), [ledger()], by="none", dataset="d", out_tsv=tmp_path / "leakage.tsv")
    check_dataset(FIELDS, [], by="gene", dataset="d", out_tsv=tmp_path / "no_images.tsv")
    for name in ("leakage.tsv", "no_images.tsv"):
        last = pd.read_csv(tmp_path / name, sep="\t").iloc[-1]
        assert last["checked"].startswith("images by hash: not checked")
        assert pd.isna(last["on_both_sides"])
    # A split of the sheet's own is one too, whatever is held out.
    with pytest.raises(SubcellError, match="same file on both sides"):
        check_dataset(FIELDS, [ledger(d="a")], by="none", dataset="d", out_tsv=tmp_path / "leakage.tsv")


OTHER = pd.DataFrame(
    {"field_id": ["x", "y"], "antibody": ["HPA8", "HPA9"], "gene": ["G8", "G9"], "split": ["train", "test"]}
)


@pytest.mark.parametrize(
    ("home", "images", "found"),
    [
        ({"gene": ["G3;G8", "G9"]}, [], r"1 genes of its test part are in the training.*of home \(G3\)"),
        ({"antibody": ["HPA3", "HPA9"]}, [], r"1 antibodies of its test part .*\(HPA3\)"),
        # Without a split all of it trains.
        ({"gene": ["G8", "G3"], "split": None}, [], r"1 genes"),
        ({}, ["protein-d", "other"], r"1 images of its test part"),
    ],
)
def test_what_trained_a_network_on_another_dataset_is_not_tested(tmp_path, home, images, found):
    rows = [
        {"field_id": name, "channel": "protein", "file": name, "status": "ok", "sha256": sha256}
        for name, sha256 in zip(OTHER["field_id"], images, strict=False)
    ]
    elsewhere = {"home": (OTHER.assign(**home), [ledger_table(rows)])}
    out = tmp_path / "leakage.tsv"
    asked = {"by": "gene", "dataset": "d", "out_tsv": out, "networks": ["d", "home"]}
    with pytest.raises(SubcellError, match=found):
        check_dataset(FIELDS, [ledger()], **asked, elsewhere=elsewhere)
    clean = {"home": (OTHER.assign(gene=["G1", "G3"]), [ledger_table()])}
    check_dataset(FIELDS, [ledger()], **asked, elsewhere=clean)
    table = pd.read_csv(out, sep="\t").set_index("checked")
    assert table.loc["genes, those of home that train", ["train", "test", "on_both_sides"]].tolist() == [1, 1, 0]
    assert pd.isna(table["on_both_sides"].iloc[-1])


def home_with(*images, **columns):
    """Another dataset, `home`, with such images of its training field, and columns that are others."""
    rows = [
        {"field_id": "x", "channel": "protein", "file": f"x{number}", "status": "ok", "sha256": sha256}
        for number, sha256 in enumerate(("own", *images))
    ]
    return {"home": (OTHER.assign(**columns), [ledger_table(rows)])}


@pytest.mark.parametrize("learned", [{"networks": ["home"]}, {}])
def test_where_every_part_is_scored_every_part_is_checked(tmp_path, learned):
    """Classifiers of home are scored on all fields of `d`, but those of antibodies and genes that trained."""
    out = tmp_path / "leakage.tsv"
    asked = {"by": "gene", "dataset": "d", "out_tsv": out, "classifiers": ["home"], **learned}
    # Field a trains in `d`, yet its image trained at home.
    with pytest.raises(SubcellError, match=r"1 images are the same file as .* of home, .*: protein of a\. Remove"):
        check_dataset(FIELDS, [ledger()], **asked, elsewhere=home_with("protein-a"))
    # Its gene trained at home too: it is left out, and so is b; c and d are scored.
    check_dataset(FIELDS, [ledger()], **asked, elsewhere=home_with("protein-a", gene=["G1", "G9"]))
    table = pd.read_csv(out, sep="\t").set_index("checked")
    counts = ["train", "test", "on_both_sides"]
    where = "where every part is scored"
    assert table.loc[f"genes, {where}: those on both sides are left out", counts].tolist() == [1, 3, 1]
    assert table.loc[f"antibodies, {where}: those on both sides are left out", counts].tolist() == [1, 3, 0]
    assert table.loc[f"images by hash of what is left, {where}", counts].tolist() == [2, 4, 0]
    # Without classifiers from elsewhere its training part is not scored.
    check_dataset(FIELDS, [ledger()], by="gene", dataset="d", out_tsv=out, elsewhere=home_with("protein-a"), **learned)


def test_a_dataset_that_trains_a_network_leaves_its_own_training_part_out(tmp_path):
    out = tmp_path / "leakage.tsv"
    asked = {"by": "gene", "dataset": "d", "out_tsv": out, "networks": ["home", "d"], "classifiers": ["home"]}
    check_dataset(FIELDS, [ledger()], **asked, elsewhere=home_with())
    table = pd.read_csv(out, sep="\t").set_index("checked")
    genes = "genes, where every part is scored: those on both sides are left out"
    assert table.loc[genes, ["train", "test", "on_both_sides"]].tolist() == [3, 3, 2]
    # A field in no part is no field of training; its image is.
    free = FIELDS.assign(split=["train", "train", None, "test"])
    with pytest.raises(SubcellError, match=r"1 images .* of d, .*: protein of c\. "):
        check_dataset(free, [ledger(c="a")], **asked, elsewhere=home_with())


def test_what_weights_have_learned_from_is_not_held_out(tmp_path):
    out = tmp_path / "leakage.tsv"
    given = {"by": "gene", "dataset": "demo", "out_tsv": out}
    fields = FIELDS.assign(batch=None)
    elsewhere = {"antibody": {"HPA9"}, "gene": {"G9", "G1"}}
    check_dataset(fields, [ledger()], **given, weights={"w.safetensors": elsewhere, "old.safetensors": None})
    rows = pd.read_csv(out, sep="\t").set_index("checked")["on_both_sides"]
    assert rows["genes, those that w.safetensors learned from"] == 0
    assert pd.isna(rows["names that old.safetensors learned from: not checked, the file does not say"])
    with pytest.raises(SubcellError, match=r"w.safetensors has learned from 1 genes of its test part \(G3\)"):
        check_dataset(fields, [ledger()], **given, weights={"w.safetensors": {"antibody": set(), "gene": {"G3"}}})
    # A dataset that is split by antibody may share genes.
    check_dataset(fields, [ledger()], **given | {"by": "antibody"}, weights={"w": {"antibody": set(), "gene": {"G3"}}})
