"""The field's words: phrases that a native speaker would rewrite stay out of docs and source."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Phrase → what to write instead.
BANNED = {
    r"usual(ly)?": "baseline, default, common",
    r"foret(old|ells?)|told": "expected, predicted, distinguished",
    r"left[- ]out": "held out (cross-validation), excluded, skipped",
    r"such as": "like, for example",
    r"at hand": "in the data, available",
    r"weighed": "weighted",
    r"an own|of (its|their|your|one's) own(?=\W*$|[.,;:)]| (and|or|in|for|with)\b)": "separate",
    r"speaks?|spoke": "supports, is evidence for",
    r"(?<!none )(?<!all )(?<!some )(?<!each )of which|by which": "two sentences",
    r"lends?|mend(s|ed)?": "shares, fixes",
    r"besides?": "next to, in addition to",
    r"judged?": "tested, called, classified",
    r"the least(?= (of|that)\b|\W*$|[.,;:)])": "the minimum, the smallest",
    r"surest?|surely": "certain, confident",
    r"in silence": "silently",
    r"(could|to) be had": "available",
    r"anew": "again",
    r"no kinds?": "not a type of",
    r"(is|are|was|were) (not )?there(?! (is|are|was|were)\b)": "present, missing",
    r"float(s|ed|ing)?(?= (in the|RNA|NK|transcripts)\b)": "ambient",
    r"catalogue|labelled": "American spelling",
}

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(
        page.relative_to(ROOT).as_posix()
        for page in ROOT.glob("docs/**/*.md")
        if page.relative_to(ROOT).parts[1] not in {"_build", "generated"}
    ),
]
NOTEBOOKS = sorted(f"notebooks/{p.name}" for p in ROOT.glob("notebooks/*.ipynb"))
SOURCES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("src/nkscore/**/*.py"))


def without_code(text):
    """Drop code blocks, comments of HTML and names in backticks, which are quoted verbatim."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"(`+)[^`]+\1", "", text)


def markdown_of(notebook):
    cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def prose_of(source):
    """Return docstrings, messages (any text of several words) and comments."""
    text = (ROOT / source).read_text(encoding="utf-8")
    parts = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = " ".join(t.string.lstrip("#:") for t in tokens if t.type == tokenize.COMMENT)
    return "\n\n".join([*parts, comments])


def banned_in(text):
    flat = " ".join(without_code(text).split())
    return [
        f"{match.group()!r} in '{flat[max(match.start() - 40, 0) : match.end() + 40]}': {instead}"
        for phrase, instead in BANNED.items()
        for match in re.finditer(rf"\b(?:{phrase})\b", flat, flags=re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_pages(page):
    assert not banned_in((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_notebooks(notebook):
    assert not banned_in(markdown_of(notebook))


@pytest.mark.parametrize("source", SOURCES)
def test_docstrings_messages_and_comments(source):
    assert not banned_in(prose_of(source))


@pytest.mark.parametrize(
    "text",
    ["The usual level.", "A cell left\nout.", "Ask what it is told.", "An own vocabulary."],
)
def test_phrases_are_found(text):
    assert banned_in(text)


def test_names_in_code_are_exempt():
    assert not banned_in("The option `left_out`, and\n\n```python\nusual = 1  # told\n```\n")
