"""Markdown as a CommonMark parser understands it: what is on the page, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from steno_api.documents.pages import Line, Region
from steno_runtime.ocr.markdown import markdown

BOX = ((0, 0), (1, 0), (1, 1), (0, 1))
BULLETS = "-\u2013—*+·●○■□•◦▪‣"


def region(*texts: str, kind: str = "paragraph") -> Region:
    return Region(kind=kind, polygon=BOX, lines=tuple(Line(polygon=BOX, text=text, confidence=1) for text in texts))


def written(*texts: str) -> str:
    return markdown([region(*texts)], " ")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["- milk", "- bread and", "butter", "- eggs"], "- milk\n- bread and butter\n- eggs"),
        (["• 우유", "•빵"], "- 우유\n- 빵"),
        (["1. come", "2. see, and", "look", "3. win"], "1. come\n2. see, and look\n3. win"),
        (["7) come", "8) see"], "7) come\n8) see"),
        (["You need:", "- milk", "- eggs"], "You need:\n\n- milk\n- eggs"),
        (["1. come", "• at once", "2. see"], "1. come\n\n- at once\n\n2. see"),
        (["1. come", "2. see", "1. go", "2. stay"], "1. come\n2. see\n\n<!-- another list -->\n\n1. go\n2. stay"),
        (["- # no heading", "- - no list", "- 3. no list"], "- \\# no heading\n- \\- no list\n- 3\\. no list"),
    ],
)
def test_a_list_has_an_item_a_line(lines, expected):
    assert written(*lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["- 5 degrees at night"], "\\- 5 degrees at night"),
        (["from the north", "- as always - and", "cold"], "from the north - as always - and cold"),
        (["12. March was wet and", "cold"], "12\\. March was wet and cold"),
        (["It ended in", "1945. Then", "1946. came"], "It ended in 1945. Then 1946. came"),
        (["-5", "-7"], "\\-5 -7"),
        (["#1 of", "# 2"], "\\#1 of # 2"),
        (["AT&amp;T & you"], "AT\\&amp;T & you"),
    ],
)
def test_what_is_not_a_list_stays_a_paragraph(lines, expected):
    assert written(*lines) == expected


def test_lists_of_two_regions_keep_their_numbers():
    first, second, third = region("1. a", "2. b"), region("3. c", "4. d"), region("1. e", "2. f")
    assert markdown([first, second], " ") == "1. a\n2. b\n\n3. c\n4. d"
    assert markdown([second, third], " ") == "3. c\n4. d\n\n<!-- another list -->\n\n1. e\n2. f"


def test_a_heading_keeps_its_number_signs():
    assert markdown([region("Learn C #", kind="heading")], " ") == "## Learn C \\#"


PIECES = st.sampled_from(
    ["- ", "• ", "•", "1. ", "2. ", "3. ", "1) ", "2) ", "12", "\\", "`", "*", "**", "_", "[a](b)", "![", "<b>", "<!--",
     "-->", ">", "|", "#", "## ", "~~", "```", "&amp;", "&", "---", "===", "    ", "\t", "+ ", "a", "회의", "ü", ".",
     " ", "x:", "http://a.b", "— ", "○ ", "\n", "$", "!", "0. ", "1234567890. "]
)  # fmt: skip
TEXTS = st.lists(PIECES, min_size=1, max_size=6).map("".join)
REGIONS = st.lists(
    st.builds(lambda kind, texts: region(*texts, kind=kind), st.sampled_from(["paragraph"] * 3 + ["heading"]),
              st.lists(TEXTS, max_size=5)),
    max_size=3,
)  # fmt: skip


def letters(text: str) -> str:
    return re.sub(rf"[\s{re.escape(BULLETS)}]", "", text)


@given(regions=REGIONS, separator=st.sampled_from([" ", ""]))
@settings(max_examples=300, deadline=None)
def test_no_text_is_lost_and_none_becomes_markup(regions, separator):
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(regions, separator))
    shown: list[str] = []
    for token in tokens:
        if token.type == "html_block":
            assert token.content.strip() == "<!-- another list -->"
        elif token.type == "inline":
            assert {child.type for child in token.children} <= {"text", "text_special"}
            shown.append("".join(child.content for child in token.children))
        elif token.type == "ordered_list_open":
            number = int(token.attrs.get("start", 1))
        elif token.type == "list_item_open" and token.info:
            shown.append(f"{number}{token.markup}")
            number += 1
        else:
            assert re.fullmatch(r"(paragraph|heading|bullet_list|ordered_list|list_item)_(open|close)", token.type)
    assert letters("".join(shown)) == letters("".join(line.text for one in regions for line in one.lines))
    headings = [one for one in regions if one.kind == "heading" and any(line.text.strip() for line in one.lines)]
    assert sum(token.type == "heading_open" for token in tokens) == len(headings)
