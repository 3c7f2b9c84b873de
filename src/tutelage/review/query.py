"""What a list shows, as its URL says it: filters, order, page. So a view can be bookmarked and shared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from tutelage.store import Selection, Sort
from tutelage.store.facets import FACETS

PAGE = 50  # traces


@dataclass(frozen=True)
class ListQuery:
    selection: Selection = field(default_factory=Selection)
    sort: Sort = Sort.NEWEST
    page: int = 1

    @classmethod
    def read(cls, parameters: Iterable[tuple[str, str]]) -> "ListQuery":
        """From a URL's parameters; what is not understood is left out."""
        facets: dict[str, tuple[str, ...]] = {}
        single: dict[str, str] = {}
        for name, value in parameters:
            if name in FACETS:
                facets[name] = (*facets.get(name, ()), value)
            else:
                single[name] = value
        sort = single.get("sort", "")
        page = single.get("page", "")
        return cls(
            Selection(facets, single.get("task", ""), single.get("q", "")),
            Sort(sort) if sort in list(Sort) else Sort.NEWEST,
            max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 10 else 1,
        )

    def url(self, **more: str | int) -> str:
        """The parameters, "?" included; "" where there are none."""
        pairs: list[tuple[str, str]] = [
            (name, value) for name, values in self.selection.facets.items() for value in values
        ]
        pairs += [("task", self.selection.task), ("q", self.selection.text)]
        if self.sort is not Sort.NEWEST:
            pairs.append(("sort", self.sort.value))
        if self.page > 1:
            pairs.append(("page", str(self.page)))
        pairs += [(name, str(value)) for name, value in more.items()]
        text = urlencode([(name, value) for name, value in pairs if value])
        return f"?{text}" if text else ""

    def toggled(self, name: str, value: str) -> "ListQuery":
        """With one more value of a facet, or without it."""
        values = self.selection.facets.get(name, ())
        values = tuple(v for v in values if v != value) if value in values else (*values, value)
        facets: Mapping[str, tuple[str, ...]] = {**self.selection.facets, name: values}
        facets = {key: chosen for key, chosen in facets.items() if chosen}
        return replace(self, selection=replace(self.selection, facets=facets), page=1)

    def sorted(self, sort: Sort) -> "ListQuery":
        return replace(self, sort=sort, page=1)

    def at_page(self, page: int) -> "ListQuery":
        return replace(self, page=page)

    def without_words(self) -> "ListQuery":
        return replace(self, selection=replace(self.selection, text="", task=""), page=1)
