"""A real browser, and a report opened in it from disk."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

# What `make test-report` installs, behind everything else, so that it changes no version of the environment.
sys.path.append(str(Path(__file__).parents[2] / ".cache" / "browser"))

import pytest
from playwright.sync_api import Page, sync_playwright
from rendered_report import EVIL, render_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"no browser: install chromium, or name one with BROWSER_PATH (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Path:
    """A report of one simulated dataset, in which every name that a sheet can bring is markup."""
    return render_report(tmp_path_factory.mktemp("evil"), {"demo": "simulate"}, evil=EVIL)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory) -> Path:
    """A report of real and simulated images."""
    return render_report(tmp_path_factory.mktemp("mixed"), {"fields": "images", "demo": "simulate"})


@dataclass
class Opened:
    """A page, and what it did that it should not."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser):
    """Open a report at a size; after the test nothing may have gone wrong in it."""
    contexts, pages = [], []

    def open_report(path: Path, target: str = "", *, width: int = 1440, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        found = Opened(context.new_page())
        pages.append(found)
        found.page.set_default_timeout(15_000)
        found.page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("dialog", lambda dialog: (found.dialogs.append(dialog.message), dialog.dismiss()))
        found.page.goto(f"{path.as_uri()}{target}")
        found.page.wait_for_selector("html.ready", state="attached")
        return found.page

    yield open_report
    for context in contexts:
        context.close()
    for found in pages:
        assert found.errors == []
        assert found.dialogs == []
        outside = [url for url in found.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == []
        assert len({url.split("#")[0] for url in found.requests if url.startswith("file:")}) == 1
