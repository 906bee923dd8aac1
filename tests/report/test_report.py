"""The report as a reader meets it: in a browser, by keyboard, on paper, with hostile names."""

from __future__ import annotations

import base64
import hashlib
import re
import time

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore._report import _html as html
from nkscore._report._figures import file_names, panels
from nkscore._report._results import Results
from nkscore._report._words import leads, measured
from nkscore._report._write import write
from nkscore.errors import MissingKeyError

NASTY = '<script>document.title="owned"</script>'


@pytest.fixture(scope="session")
def page(finished_demo):
    return finished_demo[1] / "report.html"


@pytest.fixture
def bare():
    return anndata.AnnData(np.zeros((3, 2), dtype=np.float32))


@pytest.fixture
def opened(browser, page):
    browser.problems.clear()
    browser.requests.clear()
    browser.look()
    browser.open(page)
    return browser


def cells(browser, table, column):
    """Texts of one column of a table, as shown."""
    return browser.run(
        f"[...document.querySelectorAll('#table-{table} tbody tr')]"
        f".map(row => row.children[{column}].textContent)"
    )


def names(browser, table):
    return browser.run(
        f"[...document.querySelectorAll('#table-{table} th button')].map(b => b.textContent)"
    )


def fill(browser, table, words):
    browser.run(
        f"(() => {{ const i = document.querySelector('#table-{table} input'); i.value = "
        f"{words!r}; i.dispatchEvent(new Event('input')); }})()"
    )


def status(browser, table):
    return browser.run(f"document.querySelector('#table-{table} output').value")


def test_opens_without_network_or_errors(opened, page):
    assert opened.problems == []
    assert {url.split(":")[0] for url in opened.requests} == {"file", "data"}
    assert page.stat().st_size < 8e6


def test_weight_of_26_lines():
    """Two responses of 26 lines and 7,800 genes, by a twentieth of their genes, and figures."""
    rng = np.random.default_rng(0)
    n_lines, n_genes, part = 26, 7800, 20
    genes = [f"GENE{i}" for i in rng.permutation(n_genes)]
    n = n_lines * n_genes // part
    both = ["log2_fc", "se", "ci_low", "ci_high", "t", "mean_log2_cpm"]
    shares = ["p_value", "q_value", "q_value_line", "pct_treated", "pct_control"]
    ambient = ["ambient_share", "log2_fc_adjusted", "se_adjusted", "se_ambient", "p_value_adjusted"]
    frame = pd.DataFrame({name: rng.standard_normal(n) for name in (*both, *ambient)})
    frame[shares] = rng.random((n, len(shares)))
    frame.insert(0, "tumor", np.repeat([f"LINE{i}" for i in range(n_lines)], n_genes // part))
    frame.insert(1, "gene", np.resize(genes, n))
    tables = (frame, frame.drop(columns=ambient))
    weight = part * sum(len(html.Table.of("x", "", "", table).packed) for table in tables)
    # Figures, scripts and small tables of 26 lines weigh less than 3 MB.
    assert 10e6 < weight + 3e6 < 20e6


def test_all_figures_are_there(opened, finished_demo):
    shown = opened.run(
        "[...document.images].map(i => [i.closest('figure').id, i.complete, i.naturalWidth, "
        "i.naturalHeight, i.alt.length])"
    )
    drawn = {f"figure-{html.slug(p.stem)}" for p in (finished_demo[1] / "figures").glob("*.png")}
    assert {figure[0] for figure in shown} == drawn
    assert len(drawn) >= 18
    for _, complete, width, height, words in shown:
        assert complete
        assert width > 100
        assert height > 50
        assert words > 20


def test_filter_takes_words_and_conditions(opened, finished_demo):
    table = pd.read_csv(finished_demo[1] / "tables" / "tumor_response.tsv", sep="\t")
    fill(opened, "tumor_response", "K562 q_value<0.05")
    wanted = int(((table["tumor"] == "K562") & (table["q_value"] < 0.05)).sum())
    assert 0 < wanted < 50
    opened.wait("document.querySelector('#table-tumor_response output').value.includes(' of ')")
    assert status(opened, "tumor_response") == f"{wanted:,} of {len(table):,} rows"
    assert set(cells(opened, "tumor_response", 0)) == {"K562"}
    fill(opened, "tumor_response", "no such gene")
    opened.wait("document.querySelector('#table-tumor_response output').value.startsWith('0 of')")
    assert cells(opened, "tumor_response", 0) == []
    fill(opened, "tumor_response", "")
    opened.wait("!document.querySelector('#table-tumor_response output').value.includes('of')")
    assert len(cells(opened, "tumor_response", 0)) == html.SHOWN


def test_headings_sort_all_rows_and_back(opened, finished_demo):
    table = pd.read_csv(finished_demo[1] / "tables" / "tumor_response.tsv", sep="\t")
    place = names(opened, "tumor_response").index("log2_fc")
    head = f"document.querySelectorAll('#table-tumor_response th')[{place}]"
    before = cells(opened, "tumor_response", place)
    first = (
        f"document.querySelector('#table-tumor_response tbody tr').children[{place}].textContent"
    )
    for state, wanted in (
        ("ascending", table["log2_fc"].min()),
        ("descending", table["log2_fc"].max()),
    ):
        opened.run(f"{head}.querySelector('button').click()")
        assert opened.run(f"{head}.getAttribute('aria-sort')") == state
        opened.wait(f"{first} === {html.number(f'{wanted:.6g}')!r}")
        values = [float(v.replace("−", "-")) for v in cells(opened, "tumor_response", place)]
        assert values == sorted(values, reverse=state == "descending")
    opened.run(f"{head}.querySelector('button').click()")
    assert opened.run(f"{head}.getAttribute('aria-sort')") == "none"
    opened.wait(f"{first} === {before[0]!r}")
    # What the script writes is what Python had written.
    assert cells(opened, "tumor_response", place) == before


def test_download_holds_every_row(opened, finished_demo, tmp_path):
    table = pd.read_csv(
        finished_demo[1] / "tables" / "tumor_response.tsv", sep="\t", dtype={"tumor": str}
    )
    opened.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    opened.run("document.querySelector('#table-tumor_response .download').click()")
    file, end = tmp_path / "tumor_response.tsv", time.monotonic() + 20
    while not file.exists() and time.monotonic() < end:
        opened.run("1")
        time.sleep(0.05)
    got = pd.read_csv(file, sep="\t", dtype={"tumor": str})
    # Key columns come first on the page; effects have four significant digits, others three.
    assert list(got)[:6] == ["tumor", "gene", "log2_fc", "ci_low", "ci_high", "q_value"]
    assert sorted(got) == sorted(table)
    pd.testing.assert_frame_equal(got[list(table)], table, rtol=5.1e-3, check_dtype=False)
    exact = ["log2_fc", "se"]
    pd.testing.assert_frame_equal(got[exact], table[exact], rtol=5.1e-4)


def test_keyboard_reaches_everything(opened):
    """Tab order: skip link, contents with their parts, then what stands in the page."""
    reached = []
    for _ in range(40):
        opened.press("Tab")
        reached.append(
            opened.run(
                "(e => e.className || e.getAttribute('href') || e.type || e.localName)"
                "(document.activeElement)"
            )
        )
        outline = opened.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert reached[0] == "skip"
    parts = [name for name in reached if re.fullmatch("#[a-z]+", name)]
    assert parts == [
        *("#summary", "#ledger", "#states", "#response", "#genes", "#quality", "#methods")
    ]
    tables = [name for name in reached if name.startswith("#table-")]
    assert tables[0] == "#table-nk_activation"
    start = reached.index("search")
    assert reached[start : start + 3] == ["search", "download", "scroll"]
    assert reached[start + 3 : start + 8] == ["button"] * 5


def test_headings_sort_by_keyboard(opened):
    before = cells(opened, "samples", 1)
    opened.run("document.querySelectorAll('#table-samples th button')[1].focus()")
    head = "document.activeElement.closest('th')"
    for state in ("ascending", "descending"):
        opened.press("Enter")
        assert opened.run(f"{head}.getAttribute('aria-sort')") == state
    place = opened.run(f"{head}.cellIndex")
    opened.wait(f"document.querySelector('#table-samples tbody tr').children[{place}] !== null")
    assert sorted(cells(opened, "samples", 1)) == sorted(before)


def test_columns_explain_themselves(opened):
    """On hover, and to screen readers."""
    words = opened.run(
        "[...document.querySelectorAll('#table-tumor_response th button')].map(b => b.title)"
    )
    assert all(words), words
    assert words[2] == "log2 fold change, treated against control"


def test_typing_into_the_filter(opened):
    opened.run("document.querySelector('#table-samples input').focus()")
    opened.type("nk_mono")
    opened.wait("document.querySelector('#table-samples output').value === '3 of 27 rows'")
    assert len(cells(opened, "samples", 0)) == 3


def test_skip_link_leads_to_the_summary(opened):
    opened.press("Tab")
    opened.press("Enter")
    opened.wait("location.hash === '#summary'")


def test_prints_figures_and_tables(opened):
    pdf = opened.pdf()
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF")
    assert 8 <= pages <= 60
    assert pdf.count(b"/Subtype /Image") >= 18
    opened.look(media="print")
    hidden = opened.run("getComputedStyle(document.querySelector('.controls')).display")
    assert hidden == "none"


@pytest.mark.parametrize("width", [320, 390, 800, 1400])
def test_page_is_never_wider_than_the_screen(browser, page, width):
    browser.look(width=width, height=800)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width
    beside = browser.run(
        "document.querySelector('nav').getBoundingClientRect().right <= "
        "document.querySelector('main').getBoundingClientRect().left"
    )
    assert beside is (width >= 1088)


def test_first_screen_tells_the_story(browser, page):
    """Picture and answers stand on the first screen of a laptop."""
    browser.look(width=1400, height=900)
    browser.open(page)
    bottoms = browser.run(
        "[...document.querySelectorAll('#figures-overview img, .story li')]"
        ".map(e => e.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) > 8
    assert max(bottoms) <= 900
    topics = browser.run("[...document.querySelectorAll('.story b')].map(b => b.textContent)")
    assert topics == [
        *("NK activation.", "NK states.", "Tumor response.", "Signal.", "Ambient RNA."),
        *("Dormancy.", "Visibility.", "Contacts."),
    ]
    lost = browser.run(
        "[...document.querySelectorAll('.story a, nav a')].map(a => a.getAttribute('href'))"
        ".filter(to => !document.getElementById(to.slice(1)))"
    )
    assert lost == []
    made = browser.run("document.querySelector('header .subtitle').textContent")
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d · sample_sheet.csv · nkscore {nk.__version__}", made)


_CONTRAST = """
(() => {
  const light = c => { const p = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; };
  const ground = e => { while (e && getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)')
    e = e.parentElement; return e ? getComputedStyle(e).backgroundColor : 'rgb(255,255,255)'; };
  return Math.min(...[...document.querySelectorAll('p, li, td, th button, a, figcaption, output')]
    .slice(0, 600).map(e => { const a = light(getComputedStyle(e).color), b = light(ground(e));
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(browser, page, dark):
    browser.look(dark=dark)
    browser.open(page)
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    # WCAG AA for text.
    assert browser.run(_CONTRAST) >= 4.5


def test_summary_says_what_was_planted(page, finished_demo):
    text = page.read_text(encoding="utf-8")
    assert "1,620 droplets in 4 lanes were read" in text
    assert "27 samples, 6 tumor lines (697, ALLSIL, GDM1, JURKAT, K562, RI1), 3 NK donors" in text
    assert "NK cells: " in text
    assert re.search(r"Few replicates in tumor_state_shift and tumor_response[\w ]*: 6 of 6", text)
    lines = pd.read_csv(
        finished_demo[1] / "tables" / "nk_activation.tsv", sep="\t", dtype={"tumor": str}
    )
    first, last = lines["tumor"].iloc[[0, -1]]
    numbers = r" \(\d+% → \d+%, odds ratio [\d.]+, 95% interval [\d.]+ to [\d.]+; \d \+ 3 donors\)"
    most = (
        rf"Of {len(lines)} lines, {first}{numbers} activates NK cells most, {last} least{numbers}"
    )
    assert re.search(most, text)
    assert re.search(r"Core response of tumor cells, over all lines: \d+ genes: \w", text)
    assert "Confounded with lanes: co-culture and monoculture are in different lanes" in text
    assert "Each NK donor has a separate lane" in text
    # So few cells leave fewer than ten dormant-like cells in a sample.
    assert set(re.findall(r"Not made: (\w+)", text)) <= {"visibility"}


def test_q_values_are_what_the_footer_says(finished_demo, page):
    table = pd.read_csv(finished_demo[1] / "tables" / "tumor_response.tsv", sep="\t")
    text = page.read_text(encoding="utf-8")
    assert "q_value: Benjamini and Hochberg over all tests of the table" in text
    q = stats.false_discovery_control(table["p_value"])
    np.testing.assert_allclose(table["q_value"], q)
    assert "q_value_line: over those of one line" in text
    one = table[table["tumor"] == "K562"]
    q = stats.false_discovery_control(one["p_value"])
    np.testing.assert_allclose(one["q_value_line"], q)


def test_every_table_names_its_method_and_version(page):
    text = page.read_text(encoding="utf-8")
    version = f"nkscore {nk.__version__}"
    captions = re.findall(r'id="table-([\w.-]+)".*?<p>(.*?)</p>', text, re.DOTALL)
    assert len(captions) >= 14
    for name, caption in captions:
        if name not in {"samples", "steps", "lanes", "hashtag_calls", "signatures"}:
            assert version in caption, name
    assert "tl.interaction_response + tl.flag_ambient(" in text
    for step in ("pp.qc", "pp.demultiplex", "tl.nk_states", "tl.state_shift", "tl.embed"):
        assert f"<td>{step}</td>" in text


def test_genes_link_to_their_dossier(browser, tmp_path, bare):
    response = responses_of(["A", "B"])
    response["gene"] = response["gene"].replace("G3", "HLA-A.1 <b>")
    results = Results(bare, bare, {"tumor_response": response})
    results.dossiers = {"HLA-A.1 <b>": pd.DataFrame({"source": ["screen"], "rank": [3]})}
    write(results, [], tmp_path / "r.html")
    browser.problems.clear()
    browser.look()
    browser.open(tmp_path / "r.html")
    links = "document.querySelectorAll('#table-tumor_response tbody a')"
    # Those that Python wrote, and those that the script writes after a filter.
    for _ in range(2):
        assert browser.run(f"[...{links}].map(a => a.textContent)") == ["HLA-A.1 <b>"] * 2
        browser.run(f"location.hash = ''; {links}[0].click()")
        browser.wait("document.querySelector('details.dossier').open")
        browser.run("document.querySelector('details.dossier').open = false")
        fill(browser, "tumor_response", "hla-a.1")
        browser.wait("document.querySelector('#table-tumor_response output').value.includes('of')")
    assert browser.problems == []


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A report whose every name wants to be code."""
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "GDM1"], n_donors=2, n_cells_per_sample=20, n_genes=4000, rng=0
    )
    nk.datasets.use_truth(adata)
    for column in ("sample", "tumor", "lane"):
        adata.obs[column] = adata.obs[column].astype(str).map(lambda x: f"{x}{NASTY} Ω 試料\t&")
    table = pd.DataFrame(
        {
            "tumor": NASTY,
            # As objects: pandas 3 refuses half a character in its own kind of text.
            NASTY: pd.Series(["a\tb\nc", "</script><b>", "Ω 試料 \udcff"], dtype=object),
            "value": [1234567, np.nan, -np.inf],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "date": pd.to_datetime(["2026-01-01", None, "2026-01-02"]),
        }
    )
    path = tmp_path_factory.mktemp("nasty") / "report.html"
    return nk.report(adata, {f"table {NASTY}": table}, path, title=f"{NASTY} Ω")


def test_names_are_escaped(nasty):
    """Also where no browser is installed."""
    text = nasty.read_text(encoding="utf-8")
    n_tables = text.count('<section class="table"')
    assert n_tables > 1
    assert text.count("<script") == n_tables + 1
    assert text.count("&lt;script&gt;") > 20


def test_names_are_text_and_never_code(browser, nasty):
    browser.problems.clear()
    browser.look()
    browser.open(nasty)
    assert browser.problems == []
    assert browser.run("document.title") == f"{NASTY} Ω"
    assert browser.run("document.querySelectorAll('script:not(.data)').length") == 1
    key = html.slug(f"table {NASTY}")
    selector = f"document.getElementById('table-{key}')"
    read = f"[...{selector}.querySelectorAll('tbody td')].map(c => c.textContent)"
    shown = browser.run(read)
    assert shown[:6] == [NASTY, "a b c", "1234567", "1", "True", "2026-01-01 00:00:00"]
    assert shown[8:10] == ["", ""]
    assert shown[14] == "−∞"
    browser.run(f"{selector}.querySelector('th button').click()")
    browser.wait(f"{selector}.querySelector('th').getAttribute('aria-sort') === 'ascending'")
    time.sleep(0.2)
    assert browser.run(read) == shown
    assert browser.problems == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12, "12"),
        (-3.0, "−3"),
        (0.5, "0.500"),
        (1.234567, "1.23"),
        (-12.34, "−12.3"),
        (1234.5, "1234" if round(1234.5) == 1234 else "1235"),
        (0.00012, "1.2e-4"),
        (1.5e-300, "1.5e-300"),
        (2.5e7 + 0.5, "2.5e+7"),
        (float("nan"), ""),
        (float("inf"), "∞"),
    ],
)
def test_numbers_for_the_eye(value, shown):
    assert html.number(value).replace("−", "-") == shown.replace("−", "-")


def responses(log2_fc, q_value, **more):
    return pd.DataFrame(
        {
            "tumor": ["A", "B", "C"],
            "gene": "HLA-A",
            "log2_fc": log2_fc,
            "p_value": q_value,
            "q_value": q_value,
            **more,
        }
    )


def test_words_follow_from_the_numbers():
    def words(table):
        return " ".join(leads(Results(None, None, {"tumor_response": table}))["response"])

    text = words(responses([1.0, 2.0, -1.0], [0.01, 0.02, 0.5]))
    assert "0 to 1 genes per line differ" in text
    assert "up: HLA-A" in text
    flagged = responses([1.0, 2.0, 1.0], [0.01, 0.02, 0.5], ambient_suspect=True)
    assert "100% of them may be ambient RNA" in words(flagged)
    assert "HLA-A" not in words(flagged)
    assert "HLA-A" not in words(responses([1.0, -2.0, 1.0], [0.01, 0.02, 0.5]))
    nothing = words(responses([1.0, 2.0, 1.0], [0.5, 0.6, 0.7]))
    assert "0 genes per line" in nothing
    assert "up:" not in nothing


def test_shifts_in_words():
    def words(log_odds_ratio, q_value):
        table = pd.DataFrame(
            {
                "tumor": ["A", "B"],
                "state": ["type_i_ifn", "type_i_ifn"],
                "log_odds_ratio": log_odds_ratio,
                "q_value": q_value,
            }
        )
        return leads(Results(None, None, {"nk_state_shift": table}))["states"]

    assert words([1.0, -1.0], [0.01, 0.02]) == [
        "NK cells: Type I IFN is more frequent in co-culture in 1 of 2 lines (A; q < 0.05).",
        "NK cells: Type I IFN is less frequent in co-culture in 1 of 2 lines (B; q < 0.05).",
    ]
    assert words([1.0, -1.0], [0.5, 0.5]) == [
        "NK cells: no state changes its share in any of 2 lines (q < 0.05)."
    ]


def test_a_table_alone_and_the_cells_as_they_are(tmp_path, finished_demo):
    """One table of responses on cells with no further annotation."""
    table = pd.read_csv(finished_demo[1] / "tables" / "tumor_response.tsv", sep="\t")
    bare = anndata.AnnData(np.zeros((3, 2), dtype=np.float32))
    path = nk.report(bare, table[table["tumor"] == "K562"], tmp_path / "new" / "r.html")
    text = path.read_text(encoding="utf-8")
    assert "3 cells." in text
    assert 'id="figure-volcanoes"' in text
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_a_figure_that_cannot_be_drawn_is_named(tmp_path):
    bare = anndata.AnnData(np.zeros((3, 2), dtype=np.float32))
    broken = pd.DataFrame({"tumor": ["A"], "state": ["x"], "q_value": [1.0]})
    broken["log_odds_ratio"] = [np.nan]
    path = nk.report(bare, {"nk_state_fractions": broken}, tmp_path / "r.html")
    assert "Not made: figure nk_states." in path.read_text(encoding="utf-8")


def test_refuses_to_replace_and_other_things_than_tables(tmp_path):
    bare = anndata.AnnData(np.zeros((3, 2), dtype=np.float32))
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        nk.report(bare, {}, path)
    assert path.read_text() == "mine"
    nk.report(bare, {}, path, overwrite=True)
    assert "<!doctype html>" in path.read_text(encoding="utf-8")
    with pytest.raises(MissingKeyError, match=r"responses\['x'\] is of type list"):
        nk.report(bare, {"x": []}, path, overwrite=True)
    with pytest.raises(MissingKeyError, match="is of type list"):
        nk.report(bare, [], path, overwrite=True)


def test_same_input_gives_the_same_bytes(tmp_path):
    adata = nk.datasets.simulate_coculture(
        tumors=["697"], n_donors=1, n_cells_per_sample=20, n_genes=4000, rng=0
    )
    nk.pp.qc(adata)
    first, second = (nk.report(adata, {}, tmp_path / f"{i}.html").read_bytes() for i in (1, 2))
    assert first == second


def responses_of(lines, n_genes=12):
    """Genes that respond in one line or the other, in turn."""
    rows = [
        {
            "tumor": line,
            "gene": f"G{i}",
            "log2_fc": 2.0 + i if (i + j) % 2 else 0.1,
            "p_value": 1e-6,
            "q_value": 1e-5,
        }
        for i in range(n_genes)
        for j, line in enumerate(lines)
    ]
    return pd.DataFrame(rows)


def test_heat_map_of_modules_is_drawn_from_the_response_alone(tmp_path, bare):
    response = responses_of(["A", "B", "C"]).assign(ambient_suspect=False)
    response.loc[response["gene"] == "G3", "ambient_suspect"] = True
    before = response.copy()
    text = nk.report(bare, response, tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="figure-response_heatmap"' in text
    assert 'id="table-response_modules"' in text
    assert re.search(r"tl\.response_modules\(gene_sets=&#39;hallmark&#39;, k=8, .*n_top=200", text)
    section = text[text.index('id="table-response_modules"') :]
    genes = re.findall(r"<tr>\s*<td[^>]*>(?:<a[^>]*>)?(G\d+)<", section)
    assert sorted(genes) == sorted(f"G{i}" for i in range(12) if i != 3)
    pd.testing.assert_frame_equal(response, before)


def test_modules_of_the_caller_are_drawn_as_they_are(tmp_path, bare):
    response = responses_of(["A", "B"])
    modules = pd.DataFrame({"gene": ["G1", "G2"], "module": [1, 2], "label": ["mine", "unnamed"]})
    tables = {"tumor_response": response, "response_modules": modules}
    text = nk.report(bare, tables, tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="figure-response_heatmap"' in text
    assert 'data-name="response_modules" data-rows="2"' in text


def test_one_line_has_no_modules_and_says_so(tmp_path, bare):
    path = nk.report(bare, responses_of(["A"]), tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    assert "Not made: response_modules. The table holds only one line (A)" in text
    assert 'id="figure-response_heatmap"' not in text
    assert 'id="figure-volcanoes"' in text


def test_a_page_holds_each_line_once(bare):
    """Names that differ by a slash or by case only are lines of their own; no line is lost."""
    lines = ["A/B", "A_B", "a_b", *(f"L{i}" for i in range(11))]
    results = Results(bare, bare, {"tumor_response": responses_of(lines)})
    pages = [panel for panel in panels(results) if panel.name.startswith("volcanoes")]
    assert [page.name for page in pages] == ["volcanoes_1", "volcanoes_2"]
    titles = []
    for page in pages:
        figure = page.draw()
        titles += [ax.get_title(loc="left") for ax in figure.axes]
        plt.close(figure)
    assert titles == lines


def test_file_names_differ():
    assert file_names(["A/B", "A_B", "x", "a_b", "A_B_2"]) == [
        "A_B",
        "A_B_2",
        "x",
        "a_b_3",
        "A_B_2_2",
    ]


def test_empty_response_and_names_that_are_no_text(tmp_path, bare):
    tables = {"tumor_response": responses_of(["A", "B"])[:0], 1: pd.DataFrame({"x": [1]})}
    text = nk.report(bare, tables, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "nan" not in text[: text.index('id="more"')].split("<main>")[1].split("<table")[0]
    assert 'id="table-1"' in text
    assert "Not made: figure response_dots. The table has no rows" in text


def test_sample_of_two_lanes_is_one_sample(bare):
    adata = anndata.AnnData(np.zeros((4, 2), dtype=np.float32))
    adata.obs["lane"] = ["l1", "l1", "l2", "l2"]
    adata.obs["sample"] = ["a", "b", "a", "b"]
    adata.obs["condition"] = ["coculture", "nk_mono"] * 2
    text = " ".join(measured(Results(adata, adata)))
    assert "2 samples" in text
    assert "1 in co-culture, 1 NK alone" in text


def test_only_the_own_script_and_style_may_run(nasty):
    text = nasty.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (inner,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
