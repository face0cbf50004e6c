"""The pages of `report --html` and `certificate --html` in a real browser, as people see them.

In light and dark, on a narrow screen, for print, and without its style sheet: axe-core finds
nothing that keeps somebody out, nothing is fetched, and nothing is complained of.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.evidence.report.as_html import as_html
from bulk_eraser.records import PlanFacts
from tests.unit.evidence.conftest import (
    accepted,
    excluded,
    facts,
    failed,
    rejected,
    sent,
    started,
    status,
    summed,
    unknown,
    written,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser installs it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
HOSTILE = "\"><script>document.title='run'</script><img src=x onerror=alert(1)> =1+1 {{7*7}} é"
NARROW = 360
PAGES = ["trouble", "erased", "certificate"]


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A batch in which much went wrong, with hostile text in it, and one where everybody is erased,
    each as a page; and a certificate of somebody, with the same text."""
    folder = tmp_path_factory.mktemp("pages")
    rows = "".join(f'k{n:05d}-7a1f,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n' for n in range(300))
    (folder / "keys.csv").write_text(f"customerKey,ticket\n{rows},\n,x\nk00001-7a1f,again\n")
    holds = [(f"k{n:05d}-7a1f", HOSTILE if n < 4 else f"court case {n}") for n in range(20)]
    hold_rows = "".join(json.dumps({"customerKey": k, "reason": why}) + "\n" for k, why in holds)
    (folder / "hold.ndjson").write_text(hold_rows)
    row = rows.split("\n", 1)[0].split(",", 1)[1]
    few = "".join(f"few{n}-7a1f,{row}\n" for n in range(9))
    (folder / "few.csv").write_text(f"customerKey,ticket\n{few}")
    faults = ("http_400=5%", "job_error=5%", "http_500=2%")
    with simulated(*faults) as origin:
        bulk_eraser(
            folder,
            *("run", "keys.csv", "--base-url", origin, "--yes", "--rate", "0"),
            *("--reference-field", "ticket", "--requester", HOSTILE, "--reference", HOSTILE),
            *("--exclude", "hold.ndjson"),
        )
        follow(folder, "keys")
    with simulated() as origin:
        run = ("run", "few.csv", "--base-url", origin, "--yes", "--reference-field", "ticket")
        bulk_eraser(folder, *run)
        follow(folder, "few")
    certificate = folder / "certificate.html"
    bulk_eraser(
        folder,
        *("certificate", "few.ledger.ndjson", "--line", "4", "--html", certificate.name),
    )
    return {
        "trouble": page_of(folder, "keys"),
        "erased": page_of(folder, "few"),
        "certificate": certificate,
        "worst": worst_page(folder),
    }


def worst_page(folder: Path) -> Path:
    """A batch with keys in every state, with many digits, and many long reasons."""
    run = started(
        input=facts(name="customers-of-november-2026.csv", bytes=123_456_789, rows=1_234_567),
        exclude_sha256="f" * 64,
        requester="Somebody with a long name, Data Protection",
        reference="DPO-2026-118",
        plan=PlanFacts(sha256="a" * 64, made_by="Somebody else", made_at="2026-10-19T10:00:00Z"),
    )
    run.sent_when_complete = 1_200_000
    held = [excluded(f"x{n}", 900_000 + n, f"{n} {'a long reason ' * 13}") for n in range(20)]
    outcomes = [
        *(accepted("e", 1_000_000), accepted("d", 1_000_001), accepted("j", 1_000_002)),
        *(failed("r", 1_000_003), failed("f", 1_000_004, permanent=False), unknown("u", 1_000_005)),
        *(rejected(1_000_010), rejected(1_000_011, "wrong_type"), excluded("e", 1_000_000, "late")),
    ]
    sent_ = [sent(key, 1_000_000 + n) for n, key in enumerate("edjrfup")]
    asked = [started("follow", run="q"), status("e", "done"), status("j", "error")]
    groups: list[Any] = [("2026-10-20", [run, *sent_]), ("2026-10-20", [*outcomes, *held])]
    pending = status("d", "running", due="2026-11-30T00:00:00.000Z")
    ledger = written(folder / "worst.ledger.ndjson", *groups, ("2026-11-20", [*asked, pending]))
    page = folder / "worst.html"
    page.write_text(as_html(summed(ledger)))
    return page


@contextmanager
def simulated(*faults: str) -> Iterator[str]:
    """The origin of a simulator at which a day lasts ten milliseconds."""
    options = [word for fault in faults for word in ("--fault", fault)]
    with subprocess.Popen(
        [*PROGRAM, "simulate", "--port", "0", "--day", "0.01", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


PROGRAM = [sys.executable, "-m", "bulk_eraser"]
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "ELEVATE_API_KEY": "simulated-key",
}


def bulk_eraser(folder: Path, *words: str, codes: tuple[int, ...] = (0, 3)) -> None:
    ended = subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert ended.returncode in codes, ended.stderr


def follow(folder: Path, name: str) -> None:
    bulk_eraser(folder, "follow", f"{name}.ledger.ndjson", "--wait", "--day", "0.01", "--rate", "0")


def page_of(folder: Path, name: str) -> Path:
    page = folder / f"{name}.html"
    bulk_eraser(folder, "report", f"{name}.ledger.ndjson", "--html", page.name)
    return page


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """Open a page in one of the ways; whatever it asks for or complains of fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(name: str, **how: Any) -> Any:
        context = browser.new_context(**how)
        contexts.append(context)
        page = context.new_page()
        address = pages[name].as_uri()
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: asked.url != address and wrong.append(asked.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


WAYS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1000, "height": 1400}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1000, "height": 1400}},
    "narrow": {"viewport": {"width": NARROW, "height": 740}},
    "narrow and dark": {"color_scheme": "dark", "viewport": {"width": NARROW, "height": 740}},
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_kept_out(opened: Any, name: str, way: str):
    """axe-core's rules, with everything folded open; nothing is wider than the screen."""
    page = opened(name, **WAYS[way])
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    must_be_accessible(page)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= WAYS[way]["viewport"]["width"]


@pytest.mark.parametrize("name", PAGES)
def test_it_makes_sense_without_its_style_sheet(opened: Any, name: str):
    """As Jenkins shows it, whose policy forbids style and script."""
    page = opened(name, viewport={"width": 1000, "height": 1400})
    page.evaluate("document.querySelectorAll('style').forEach(it => it.remove())")
    page.evaluate("document.querySelectorAll('[style]').forEach(it => it.removeAttribute('style'))")
    must_be_accessible(page)


@pytest.mark.parametrize("name", PAGES)
def test_it_can_be_printed(opened: Any, name: str):
    """For print it is as accessible, and comes out as PDF of a few pages of A4."""
    page = opened(name)
    page.emulate_media(media="print")
    must_be_accessible(page)
    pdf = page.pdf(format="A4", print_background=True)
    assert 1 <= pdf.count(b"/Type /Page\n") <= 12


@pytest.mark.parametrize("name", ["trouble", "erased", "worst"])
def test_all_but_the_annexes_is_one_page_of_a4(opened: Any, name: str):
    """Verdict, pictures, facts, exceptions and the place for a signature, however much is wrong."""
    page = opened(name, viewport={"width": 688, "height": 1054})  # A4 without margins
    page.emulate_media(media="print")
    assert page.evaluate("document.querySelector('.annexes').offsetTop") <= 1054
    assert page.locator(".sign-here").is_visible()


@pytest.mark.parametrize("name", ["trouble", "certificate"])
def test_hostile_text_stays_text(opened: Any, name: str):
    """It stands on the page as it was given, and nothing of it ran."""
    page = opened(name)
    assert page.locator("script, img, iframe, object, embed, link").count() == 0
    assert page.title() != "run"
    assert "<script>document.title=" in page.inner_text("body")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("trouble", "Not complete"),
        ("erased", "Complete: all 9 customer keys are erased"),
        ("certificate", "customer key in Voyado Elevate is erased"),
    ],
)
def test_the_verdict_is_read_without_script(opened: Any, name: str, verdict: str):
    """The first heading's section says it, also where scripts are forbidden."""
    page = opened(name, java_script_enabled=False)
    assert verdict in page.inner_text("body")[:600]


def must_be_accessible(page: Any) -> None:
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
