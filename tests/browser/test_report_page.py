"""The report as a reader uses it, in a real browser."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from rendered_report import EVIL

from subcell.tables import quoted

PAGE = Path(__file__).parents[2] / "workflow" / "report" / "page" / "page.js"
PAGES = ("overview", "map", "scores", "data", "models", "run", "methods")


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_first_screen_has_numbers_scores_and_the_map(opened, mixed):
    page = opened(mixed)
    expect(page.locator("#overview .facts")).to_have_count(2)
    expect(page.locator("#overview table.headline").first).to_contain_text("0.581")
    assert page.evaluate("document.getElementById('overview-map').dataset.frames") is not None
    box = page.locator("#overview-map").bounding_box()
    assert box["y"] + box["height"] < 900


def test_every_page_opens_alone_and_all_are_printed(opened, mixed):
    page = opened(mixed)
    for name in PAGES:
        page.locator(f'nav a[href="#{name}"]').click()
        expect(page.locator(f"#{name}")).to_be_visible()
        assert page.locator(".page:visible").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    page.emulate_media(media="print")
    assert page.locator(".page:visible").count() == len(PAGES)
    assert page.locator(".explorer:visible").count() == 0


def test_search_finds_a_gene_and_opens_its_page(opened, report):
    page = opened(report, "#map")
    page.get_by_label("Search").fill("g7")
    expect(page.locator("[role=option]")).to_have_text(re.compile("^G7"))
    page.keyboard.press("Enter")
    expect(page.locator("#pane-unit h3")).to_have_text("G7")
    assert page.url.endswith("#map&map=0&unit=G7")
    pane = page.locator("#pane-unit")
    expect(pane.locator(".cell canvas").first).to_be_visible()
    expect(pane).to_contain_text("Annotated")
    expect(pane.locator(".probability").first).to_contain_text("0.90 ± 0.10")
    assert len(texts(page, "ol.path li")) == 4
    expect(page.locator("#pane-unit")).to_contain_text("A simulated protein")
    page.get_by_label("Search").fill("nothing is called so")
    expect(page.locator("[role=option]")).to_contain_text("No gene has this in its name")


def test_pictures_of_cells_are_drawn_and_attention_lies_over_them(opened, report):
    page = opened(report, "#map&map=0&unit=G1")
    picture = page.locator(".cell canvas").first
    read = "canvas => canvas.toDataURL()"
    blank = page.evaluate(
        "c => { const n = document.createElement('canvas'); n.width = 192; n.height = 96; return n.toDataURL(); }"
    )
    before = picture.evaluate(read)
    assert before != blank
    page.get_by_label("Show where the model looks").check()
    assert page.locator(".cell canvas").first.evaluate(read) != before


def test_neighbours_come_from_the_table_in_its_order(opened, report):
    page = opened(report, "#map&map=0&unit=G0")
    assert texts(page, "ol.neighbors li button") == ["G1", "G2"]
    page.locator("ol.neighbors li button").first.click()
    expect(page.locator("#pane-unit h3")).to_have_text("G1")


def test_the_slider_changes_the_clusters(opened, report):
    page = opened(report, "#map")
    page.get_by_label("Colour by").select_option("cluster")
    label, legend = page.locator("[data-part=levelText]"), page.locator("[data-part=legend]")
    expect(label).to_contain_text("Level 1 of 4: 2 clusters")
    first = texts(page, "[data-part=legend] .entry")
    page.locator("#map-level").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(label).to_contain_text("Level 3 of 4")
    expect(legend).to_contain_text("Cluster at level 3")
    assert texts(page, "[data-part=legend] .entry") != first
    page.get_by_role("tab", name="Clusters").click()
    assert page.locator("[data-part=clusters] tr").count() == page.locator("[data-part=legend] .entry").count()


def test_a_click_on_a_point_opens_its_page(opened, report):
    page = opened(report, "#map")
    canvas = page.locator("[data-part=canvas]")
    canvas.focus()
    page.keyboard.press("ArrowRight")  # the point in the middle
    name = page.locator("[data-part=live]").inner_text().split(",")[0]
    page.keyboard.press("Enter")
    expect(page.locator("#pane-unit h3")).to_have_text(name)
    page.get_by_role("button", name="Close").click()
    box = canvas.bounding_box()
    tip = page.locator("[data-part=tip]")
    for x in range(20, int(box["width"]), 12):
        for y in range(20, int(box["height"]), 12):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if tip.is_visible():
                shown = tip.locator("b").inner_text()
                expect(tip.locator("canvas")).to_be_visible()
                page.mouse.down()
                page.mouse.up()
                expect(page.locator("#pane-unit h3")).to_have_text(shown)
                return
    pytest.fail("no point was found")


def test_lasso_selects_and_saves_what_is_inside(opened, report):
    page = opened(report, "#map")
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("[data-part=canvas]").bounding_box()
    corners = ((5, 5), (box["width"] - 5, 5), (box["width"] - 5, box["height"] - 5), (5, box["height"] - 5), (5, 6))
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for x, y in corners:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
    page.mouse.up()
    pane = page.locator("#pane-selection")
    expect(pane).to_contain_text("12 genes")
    with page.expect_download() as download:
        pane.get_by_role("button", name="Save as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("gene,locations,")


def test_tree_is_linked_to_the_map(opened, report):
    page = opened(report, "#map")
    bars = page.locator(".tree .bar")
    assert bars.count() > 10
    bars.first.click()
    expect(bars.first).to_have_attribute("aria-pressed", "true")
    pane = page.locator("#pane-selection")
    expect(pane.locator("h3")).to_contain_text("Level 1, cluster")
    expect(pane).to_contain_text(EVIL)  # a term of the enrichment
    members = int(re.search(r"(\d+) genes", pane.inner_text())[1])
    assert pane.locator("tbody th button").count() == members
    page.get_by_role("tab", name="Tree").click()
    bars.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.level") == "1"


def test_colour_by_any_column_and_single_cells(opened, report):
    page = opened(report, "#map")
    options = texts(page, "[data-part=color] option")
    assert {"Cluster", "Stability of the cluster", "Locations", "Cells"} <= set(options)
    page.get_by_label("Colour by").select_option(label="Cells")
    expect(page.locator("[data-part=legend] .ramp")).to_be_visible()
    page.get_by_label("Single cells").check()
    expect(page.locator("[data-part=count]")).to_contain_text("24 cells, each placed among the genes nearest to it")
    assert "Locations (of the cell)" in texts(page, "[data-part=color] option")


def test_markup_in_names_stays_text(opened, report):
    page = opened(report)
    for name in PAGES:
        page.evaluate("name => { location.hash = name; }", name)
    page.evaluate("location.hash = '#map'")
    page.get_by_label("Search").fill("<img")
    page.keyboard.press("Enter")
    expect(page.locator("#pane-unit h3")).to_have_text(EVIL)
    expect(page.locator("#pane-unit")).to_contain_text(EVIL)
    page.evaluate("location.hash = '#data'")
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    for name in ("data", "run"):
        page.evaluate("name => { location.hash = name; }", name)
        assert EVIL in page.locator(f"#{name}").inner_text()
    assert page.locator('img[src="x"]').count() == 0
    assert page.locator("[onerror]").count() == 0


def test_script_that_is_not_named_by_the_policy_does_not_run(browser, report, tmp_path):
    changed = tmp_path / "changed.html"
    text = report.read_text(encoding="utf-8")
    changed.write_text(text.replace("</main>", "<script>window.ran = 1</script></main>"), encoding="utf-8")
    page = browser.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text))
    page.goto(changed.as_uri())
    page.wait_for_selector("html.ready", state="attached")
    assert page.evaluate("window.ran") is None
    assert len(errors) == 1
    assert "Content Security Policy" in errors[0]
    page.close()


@pytest.mark.parametrize("target", [*PAGES, "map&map=0&unit=G1"])
@pytest.mark.parametrize("width", [1440, 390])
def test_no_serious_fault_of_accessibility(opened, report, target, width):
    page = opened(report, f"#{target}", width=width)
    found = Axe().run(page).response["violations"]
    serious = [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("target", PAGES)
def test_nothing_is_wider_than_a_phone(opened, mixed, target):
    page = opened(mixed, f"#{target}", width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_people_save_holds_no_formula(opened, report):
    """As in the tables that the workflow writes."""
    values = ["=1+1", "-2", "-2+3", "+x", "@a", "\t=", "a", "'=1", "-1.5e-3", "＝1", "a,b"]
    script = PAGE.read_text(encoding="utf-8")
    start = script.index("function csvField(")
    function = script[start : script.index("\n}\n", start) + 2]
    found = opened(report).evaluate(f"values => {{ {function}\n return values.map(csvField); }}", values)
    assert [cell.strip('"') for cell in found] == [quoted(value) for value in values]
