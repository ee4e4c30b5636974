"""The report is one safe file that says plainly what it shows."""

import base64
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_example as example

from subcell.errors import SubcellError
from subcell.reporting.canvas import save_figure, text_figure
from subcell.reporting.quality import collect_quality
from subcell.reporting.report import write_report

TEMPLATES = Path(__file__).parents[2] / "workflow" / "report"
EVIL = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page as a person reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def render(folder: Path, sources: dict[str, str], *, evil: str = "", no_labels: str = "") -> Page:
    """A report of small datasets; `evil` stands for every name that a sheet can bring."""
    datasets, results, differences, maps = [], [], [], []
    for name, source in sources.items():
        home = folder / name
        fields = example.example_fields([f"{name}_{i}" for i in range(5)] + [evil or "f5"])
        inputs = example.write_quality_inputs(home, fields.assign(cell_line=["A", "A", "B", "B", "B", evil or "C"]))
        collect_quality(
            **inputs, out_set_aside_tsv=home / "set_aside.tsv", out_quality_tsv=home / "quality.tsv", dataset=name
        )
        for picture in ("fields.png", "crops.png"):
            save_figure(text_figure("a picture"), home / picture)
        datasets.append({
            "name": name, "quality_tsv": home / "quality.tsv", "set_aside_tsv": home / "set_aside.tsv",
            "gallery_png": home / "fields.png", "crops_png": home / "crops.png",
        })  # fmt: skip
        for model, value in (("mae_cells_prots_pool", 0.58123), ("random_vit", 0.31)):
            score = {"dataset": name, "model": model, "simulated": source == "simulate"}
            results.append(example.write_result(
                home / model / "localization.json", **score, benchmark="localization", reason=no_labels,
                value=value, low=value - 0.1, high=value + 0.05,
            ))  # fmt: skip
            results.append(
                example.write_result(home / model / "cell_line.json", **score, benchmark="cell_line", metric="accuracy")
            )
        if not no_labels:
            differences.append(
                (name, "mae_cells_prots_pool", "localization", "macro_ap_minus_random_vit", 0.27123, 0.2, 0.33)
            )
        genes = [f"G{i}" for i in range(11)] + [evil or "G11"]
        maps.append({"dataset": name, "model": "random_vit", **example.write_map(home / "map", units=12, genes=genes)})
    example.write_training(folder / "training.parquet", epochs=6)
    write_report(
        folder / "report.html",
        config=example.example_config(sources),
        datasets=datasets,
        benchmarks=results,
        **example.write_summary(folder, results, differences),
        templates=TEMPLATES,
        curves={"mae_cells_prots_pool": folder / "training.parquet"},
        maps=maps,
        run={"command": evil or "snakemake", "versions": {"numpy": "2"}},
    )
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> tuple[Page, str]:
    folder = tmp_path_factory.mktemp("simulated")
    page = render(folder, {"demo": "simulate"}, evil=EVIL)
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


def test_loads_nothing_and_runs_nothing(simulated):
    page, text = simulated
    assert not page.named("script") + page.named("link") + page.named("iframe") + page.named("object")
    assert all(not key.startswith("on") for _, attrs in page.tags for key in attrs)
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) >= 5
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import", text)
    for attrs in page.named("a"):
        assert attrs["href"].startswith(("#", "https://"))


def test_content_security_policy_allows_only_inline_styles_and_images(simulated):
    (policy,) = [a["content"] for a in simulated[0].named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["style-src"] == "'unsafe-inline'"
    assert "script-src" not in rules


def test_pictures_run_no_script(simulated):
    drawings = [a["src"] for a in simulated[0].named("img") if a["src"].startswith("data:image/svg+xml;base64,")]
    assert drawings
    for drawing in drawings:
        assert b"<script" not in base64.b64decode(drawing.split(",", 1)[1])


def test_markup_in_names_stays_text(simulated):
    page, text = simulated
    assert EVIL not in text
    assert text.count(html.escape(EVIL)) >= 4  # field set aside, cell line, member of a cluster, command
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
    results = text[text.index('<section id="results">') : text.index('<section id="fields">')]
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
    assert "chance 0.150" in text
    assert "How localization was scored task known answers classes A, B How cell line" in text


def test_what_was_not_run_says_why(simulated, real):
    assert real.text.count("needs locations of 3 genes") == 2  # below the table of models, and in the section
    assert "not run: not run" not in real.text
    assert "Everything that was asked for was run." in simulated[0].text


def test_what_was_set_aside_says_why(real):
    assert "protein: ../../secret.png leaves the folder of the sheet" in real.text
    assert "no cell was found" in real.text


def test_damaged_result_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SubcellError, match=r"broken\.json.*delete it"):
        write_report(
            tmp_path / "report.html", config={}, datasets=[], benchmarks=[tmp_path / "broken.json"],
            summary_tsv=tmp_path / "none.tsv",
            not_run_tsv=tmp_path / "none.tsv", templates=TEMPLATES,
        )  # fmt: skip
    assert not (tmp_path / "report.html").exists()
