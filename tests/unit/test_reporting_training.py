"""What the page says of a training besides its curves."""

import pandas as pd

from subcell.reporting.page.model_section import training_warnings


def curves(*rows: tuple[int, str, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["epoch", "metric", "value"])
    return table.assign(step=table["epoch"] * 10, split="valid")


def test_a_training_that_went_well_has_no_warning() -> None:
    assert training_warnings(curves((2, "macro_ap", 0.2), (4, "macro_ap", 0.3))) == []
    assert training_warnings(curves()) == []


def test_plateau_collapse_and_a_fallen_score_are_sentences() -> None:
    found = training_warnings(
        curves(
            (2, "plateau", 1), (4, "plateau", 1), (4, "collapsed", 1), (2, "macro_ap", 0.195), (4, "macro_ap", 0.176)
        )
    )
    assert found[0] == "A contrastive loss was within 2% of chance after epochs 2, 4."
    assert found[1] == "Vectors had collapsed after epoch 4."
    assert "highest after epoch 2 (0.195) and fell to 0.176" in found[2]
