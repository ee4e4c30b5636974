"""The report is one safe file that says plainly what it shows."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import report_example as example
from rendered_report import EVIL, TEMPLATES, render_report

from subcell.errors import SubcellError
from subcell.reporting.figures.exports import Figures
from subcell.reporting.page.map_section import describe_map
from subcell.reporting.page.page import page_files
from subcell.reporting.page.report import write_report


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page as a person reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.open: list[tuple[str, dict]] = []
        self.scripts: list[tuple[str, str]] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(self.tags[-1])

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.open.pop()

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts.append((attrs.get("type", ""), data))
        elif tag != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def render(folder: Path, sources: dict[str, str], **names: str) -> Page:
    return Page(render_report(folder, sources, **names).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> tuple[Page, str]:
    folder = tmp_path_factory.mktemp("simulated")
    page = render(folder, {"demo": "simulate"}, evil=EVIL)
    page.folder = folder
    return page, (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Page:
    return render(
        tmp_path_factory.mktemp("real"), {"fields": "images"}, no_labels="not run: needs locations of 3 genes"
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Page, str]:
    folder = tmp_path_factory.mktemp("both")
    page = render(folder, {"fields": "images", "demo": "simulate"})
    return page, (folder / "report.html").read_text(encoding="utf-8")


def test_loads_nothing(simulated):
    page, text = simulated
    assert not page.named("iframe") + page.named("object") + page.named("embed")
    assert [attrs["href"] for attrs in page.named("link")] == ["data:,"]  # no icon is asked for
    assert all(not key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert not [attrs for _, attrs in page.tags if "style" in attrs]
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) >= 5
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import", text)
    for attrs in page.named("a"):
        assert attrs["href"].startswith(("#", "https://", "data:text/csv;"))


def test_the_policy_names_the_only_style_and_the_only_script(simulated):
    page, text = simulated
    (policy,) = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    ((_, script),) = [entry for entry in page.scripts if entry[0] != "application/json"]
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.S)
    for content, rule in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert len(page.named("style")) == 1


def test_data_of_maps_are_inert_and_complete(simulated):
    page, _text = simulated
    (data,) = [entry for kind, entry in page.scripts if kind == "application/json"]
    explorer = json.loads(data)
    assert EVIL in explorer["names"]
    assert "<" not in data
    assert explorer["levels"][0]["clusters"][0]["terms"][0]["term"] == EVIL
    assert page_files() == tuple(name for name in page_files() if (TEMPLATES / name).is_file())


def test_figures_lie_beside_the_page_with_their_data(simulated):
    page, _ = simulated
    named = {attrs["download"] for attrs in page.named("a") if "download" in attrs}
    folder = page.folder / "report"
    files = {path.name for path in folder.iterdir()}
    assert {
        "demo_localization.svg",
        "demo_localization.csv",
        "demo_random_vit_map.csv",
        "demo_field_quality.svg",
    } <= files
    assert {name for name in named if name.endswith(".csv")} <= files
    table = pd.read_csv(folder / "demo_localization.csv")
    assert list(table["model"]) == ["mae_cells_prots_pool", "random_vit"]
    assert table["value"].tolist() == [0.58123, 0.31]


def test_pictures_run_no_script(simulated):
    drawings = [a["src"] for a in simulated[0].named("img") if a["src"].startswith("data:image/svg+xml;base64,")]
    assert drawings
    for drawing in drawings:
        assert b"<script" not in base64.b64decode(drawing.split(",", 1)[1])


def test_markup_in_names_stays_text(simulated):
    page, text = simulated
    assert EVIL not in text
    assert text.count(html.escape(EVIL)) >= 4  # field set aside, cell line, member of a cluster, command
    for what in ("commit", "Command:"):
        assert f"{what} <code>{html.escape(EVIL)}</code>" in text
    assert page.text.count(EVIL) >= 4
    assert not [attrs for attrs in page.named("img") if attrs["src"] == "x"]


def test_anchors_lead_somewhere(simulated):
    page, _ = simulated
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"][1:] for attrs in page.named("a") if attrs["href"].startswith("#")} <= ids


def test_structure_can_be_read_by_machines(simulated):
    page, _ = simulated
    assert all(attrs.get("alt") for attrs in page.named("img"))
    assert len(page.named("h1")) == len(page.named("main")) == 1
    assert all("scope" in attrs for attrs in page.named("th"))


def test_simulated_banner_exactly_when_something_is_simulated(simulated, real, both):
    sentence = "Simulated data: these scores test the plumbing, they say nothing of biology"
    assert sentence in simulated[0].text
    assert "simulated" not in real.text.lower()
    assert sentence in both[0].text
    assert "Simulated here: demo." in both[0].text


def test_simulated_and_real_results_never_share_a_table(both):
    text = both[1]
    results = text[text.index('<section id="scores"') : text.index('<section id="data"')]
    articles = results.split("<article")[1:]
    assert len(articles) == 2
    for article in articles:
        visible = re.sub(r'="[^"]*"', "", article)
        assert ("fields" in visible.split("</h3>")[0]) != ("demo" in visible.split("</h3>")[0])
        assert ("real images" in visible) != (">simulated<" in visible)


def test_scores_come_with_interval_chance_n_seeds_and_paired_difference(simulated):
    text = simulated[0].text
    assert "0.581 0.481 to 0.631" in text
    assert "+0.271 +0.200 to +0.330" in text
    assert "Minus random_vit" in text
    assert "Macro average precision, n = 21 antibodies, 10 seeds" in text
    assert "random_vit 0.150" not in text  # chance has a column of its own
    assert "0.310 0.210 to 0.360 rank 2 0.150" in text
    assert "How localization was scored task known answers classes A, B" in text


def test_what_was_not_run_says_why(simulated, real):
    assert real.text.count("needs locations of 3 genes") == 2  # below the table of models, and in the section
    assert "not run: not run" not in real.text
    assert "Everything that was asked for was run." in simulated[0].text


def test_what_was_set_aside_says_why(real):
    assert "protein: ../../secret.png leaves the folder of the sheet" in real.text
    assert "no cell was found" in real.text


def test_vectors_from_elsewhere_have_a_report_of_their_own(tmp_path):
    obs = pd.DataFrame({"gene": ["A", "A", "B"], "cell_line": ["U2OS", EVIL, "U2OS"]}, index=["a", "b", "c"])
    anndata.AnnData(X=np.zeros((3, 2), np.float32), obs=obs).write_h5ad(tmp_path / "cells.h5ad")
    config = example.example_config({"vectors": "embeddings"}, models={"theirs": {"kind": "imported"}})
    config["datasets"]["vectors"] |= {"model": EVIL}
    config["benchmarks"] = ["localization", "cell_line"]
    score = {"dataset": "vectors", "model": "theirs", "simulated": False}
    results = [example.write_result(tmp_path / "l.json", benchmark="localization", **score),
               example.write_result(tmp_path / "c.json", benchmark="cell_line", reason="needs two lines", **score)]  # fmt: skip
    write_report(
        tmp_path / "report.html", config=config, datasets=[{"name": "vectors", "cells_h5ad": tmp_path / "cells.h5ad"}],
        benchmarks=results, templates=TEMPLATES, **example.write_scores(tmp_path, results, [], config["models"]),
    )  # fmt: skip
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "vectors vectors from elsewhere cells 3 proteins (genes) 2 cell lines 2" in page.text
    assert "Scores vectors" not in page.text
    assert "needs two lines" in page.text
    assert "0.500 0.400 to 0.600" in page.text
    assert f"made by {EVIL}: 3 cells, 2 genes and 2 cell lines" in page.text
    said = page.text.split("Configuration as YAML")[0] + page.text.split("to paste into a paper.")[1]
    for word in ("segment", "cut out", "set aside", "fields", "cells as the models see them"):
        assert word not in said.lower()
    assert not [attrs for attrs in page.named("img") if attrs["src"] == "x"]


def test_models_with_several_seeds_are_compared_over_them(tmp_path, simulated):
    assert "Over seeds of pretraining" not in simulated[0].text, "there every model has one"
    anndata.AnnData(X=np.zeros((1, 2), np.float32), obs=pd.DataFrame(index=["a"])).write_h5ad(tmp_path / "cells.h5ad")
    scored = {"vit_1": 0.4, "vit_2": 0.5, "mae_1": 0.8, "mae_2": 0.81}
    models = {name: {"kind": "random_vit", "size": name[:3], "seed": int(name[-1])} for name in scored}
    config = example.example_config({"vectors": "embeddings"}, models=models)
    results = [
        example.write_result(
            tmp_path / f"{name}.json", dataset="vectors", model=name, benchmark="localization", simulated=False, value=value,
            replicates=[value - 0.01, value + 0.01],
        )
        for name, value in scored.items()
    ]  # fmt: skip
    write_report(
        tmp_path / "report.html", config=config, datasets=[{"name": "vectors", "cells_h5ad": tmp_path / "cells.h5ad"}],
        benchmarks=results, templates=TEMPLATES,
        **example.write_scores(tmp_path, results, [], models, reference="vit_1"),
    )  # fmt: skip
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "Minus vit 95% interval" in text
    assert re.search(
        r"mae 2 0\.805 \S+ to \S+ 0\.007 \+0\.355 \S+ to \S+ vit 2 0\.450 \S+ to \S+ 0\.071 reference", text
    )


def test_the_table_of_clusters_has_the_q_of_their_name(tmp_path):
    files = example.write_map(tmp_path / "map")
    columns = ["level", "cluster", "parent", "size", "stability", "name", "top_location", "q_value", "top_term",
               "top_term_q_value", "members"]  # fmt: skip
    rows = [[1, 1, "", 9, 0.5, "no enriched term", "Nucleoli", 0.9, "", "", "A"],
            [1, 2, "", 9, 0.5, "Ribosome (40%)", "Cytosol", 0.04, "Ribosome", 0.0001, "B"],
            [1, 3, "", 9, 0.5, "Cytosol (50%)", "Cytosol", 0.04, "", "", "C"]]  # fmt: skip
    pd.DataFrame(rows, columns=columns).to_csv(files["clusters_tsv"], sep="\t", index=False)
    found = describe_map({"dataset": "d", "model": "m", **files}, Figures(max_bytes=100_000))["clusters"]
    assert [(row["name"], row["q_value"]) for row in found] == [
        ("", ""), ("Ribosome (40%)", "below 0.001"), ("Cytosol (50%)", "0.040"),
    ]  # fmt: skip


def test_what_segmentation_doubts_is_told(real):
    assert "pixel size nuclei are 7.0 um wide" in real.text
    assert "Cells by compact and by cpsam_v2 agree with a mean F1 of 0.80 a field" in real.text
    assert "Plates to look at 1 of 6 differ from the others" in real.text
    assert "P5 Cell, µm² 900.00 44.5 5 0" in real.text


def test_cells_that_no_model_saw_are_no_cells_of_the_overview(real):
    assert "cells; 5 more, cut by the border, were left out 15" in real.text
    assert "% of cells, left out" in real.text


def test_damaged_result_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SubcellError, match=r"broken\.json.*delete it"):
        write_report(
            tmp_path / "report.html", config={}, datasets=[], benchmarks=[tmp_path / "broken.json"],
            leaderboard=tmp_path / "none.parquet",
            not_run_tsv=tmp_path / "none.tsv", templates=TEMPLATES,
        )  # fmt: skip
    assert not (tmp_path / "report.html").exists()


def test_a_figure_says_which_cells_were_scored(simulated):
    """Not that all were held out: some benchmarks take all proteins."""
    _, text = simulated
    scores = text[text.index('<section id="scores"') :]
    scores = scores[: scores.index("</section>")]
    assert "Dots: score of each model, n = " in scores
    assert ". Cells: those of held-out antibodies. Bars: 95% interval." in scores
    assert "held-out data" not in scores
    assert "nothing held out was trained on" not in scores
