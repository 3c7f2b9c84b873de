"""How long tool results are cut."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.render.nodes import keep_nodes
from tutelage.render.student import embedded_gguf, load_tokenizer
from tutelage.render.truncate import Cutter, truncate
from tutelage.settings import Student, ToolResults

PAGE = """- Page URL: https://shop.example/
- Page Snapshot
```yaml
- banner [ref=e1]:
  - link "Skip to content" [ref=e2]:
    - /url: "#content"
  - navigation [ref=e3]:
    - list [ref=e4]:
      - listitem [ref=e5]:
        - link "Lamps" [ref=e6]
      - listitem [ref=e7]:
        - link "Desks" [ref=e8]
- main [ref=e9]:
  - heading "Twelve lamps" [ref=e10]
  - paragraph [ref=e11]: All of them burn.
- contentinfo [ref=e12]:
  - paragraph [ref=e13]: Open from nine to five
```"""


def cut(text: str, how: str, limit: int) -> str:
    return truncate(text, ToolResults.model_validate({"cut": how, "limit": limit}))


def test_what_is_cut_says_so() -> None:
    assert cut("short", "head", 5) == "short"
    assert cut("longer", "head", 4) == "long\n… [cut: 4 of 6 characters shown]"
    ends = "… [cut: 6 of 10 characters shown; the end follows]"
    assert cut("0123456789", "head_and_tail", 6) == f"0123\n{ends}\n89"
    assert cut("no tree at all", "nodes", 6) == "no t\n… [cut: 6 of 14 characters shown; the end follows]\nll"


def test_a_snapshot_keeps_whole_nodes_near_the_root_and_says_where_others_were() -> None:
    shown = cut(PAGE, "nodes", 400)
    assert len(shown) <= 400
    lines = shown.split("\n")
    assert all(line in PAGE.split("\n") or "… [cut: " in line for line in lines)
    for line in ("- banner [ref=e1]:", '  - heading "Twelve lamps" [ref=e10]', "- contentinfo [ref=e12]:"):
        assert line in lines
    assert '        - link "Lamps" [ref=e6]' not in lines  # the deepest go first
    dropped = sum(int(line.split("[cut: ")[1].split()[0]) for line in lines if "… [cut: " in line)
    assert dropped + sum("… [cut: " not in line for line in lines) == len(PAGE.split("\n"))
    after_its_parent = lines[lines.index("    - list [ref=e4]:") + 1]
    assert after_its_parent == "      … [cut: 4 lines]"


def test_json_keeps_whole_items_and_small_members_and_stays_json() -> None:
    items = [{"name": f"lamp {number}", "price": number + 0.5} for number in range(50)]
    found = {"page": "<p>" * 500, "items": items, "total": 50, "next": None}
    shown = json.loads(cut(json.dumps(found), "nodes", 600))
    assert (shown["total"], shown["next"], shown["page"]) == (50, None, "… [cut: 1500 characters]")
    assert list(shown) == ["page", "items", "total", "next"]
    *kept, notice = shown["items"]
    assert len(kept) > 3 and kept == items[: len(kept)]
    assert notice == f"… [cut: {50 - len(kept)} of 50 items]"
    many = json.loads(cut(json.dumps({f"k{number}": "x" * 9 for number in range(90)}), "nodes", 400))
    assert many.pop("…") == f"[cut: {90 - len(many)} of 90 members]"


def test_a_limit_in_tokens_counts_the_students() -> None:
    cutter = Cutter(ToolResults(limit=40, unit="tokens"), Student(), Path())
    text = "Der Prüfer sagt: 12.50 € für 3 Lampen 💡. " * 20
    head, notice = cutter(text).split("\n")
    inner = load_tokenizer(embedded_gguf()).inner
    assert text.startswith(head) and len(inner.encode(head, add_special_tokens=False).ids) == 40
    whole = len(inner.encode(text, add_special_tokens=False).ids)
    assert notice == f"… [cut: 40 of {whole} tokens shown]"
    nodes = Cutter(ToolResults(limit=150, unit="tokens", cut="nodes"), Student(), Path())(PAGE)
    assert len(inner.encode(nodes, add_special_tokens=False).ids) <= 150 and "[cut: " in nodes


@pytest.mark.parametrize("how", ["head", "head_and_tail", "nodes"])
@pytest.mark.parametrize("text", [PAGE, json.dumps([PAGE] * 9), "words " * 200])
def test_what_was_cut_already_is_not_cut_again(how: str, text: str) -> None:
    cutter = Cutter(ToolResults.model_validate({"cut": how, "limit": 200}), Student(), Path())
    assert cutter.again(cutter(text)) == cutter(text) != text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=40,
)
lines = st.lists(
    st.tuples(st.integers(0, 6), st.text(st.characters(exclude_characters="\n\r"), max_size=20)), min_size=5
)


@settings(deadline=None)
@given(values, st.integers(1, 200))
def test_whatever_json_is_cut_fits_and_stays_json(value: Any, limit: int) -> None:
    text = json.dumps(value)
    kept = keep_nodes(text, limit, len) if len(text) > limit else None
    if kept is not None:
        assert len(kept) <= limit
        json.loads(kept)


@settings(deadline=None)
@given(lines, st.integers(30, 200))
def test_whatever_outline_is_cut_fits(made: list[tuple[int, str]], limit: int) -> None:
    text = "\n".join(f"{'  ' * depth}- {said}" for depth, said in made)
    kept = keep_nodes(text, limit, len)
    assert kept is None or len(kept) <= limit
