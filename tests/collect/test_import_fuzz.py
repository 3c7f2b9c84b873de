"""Whatever stands in a file: no crash, no trace that fails to round-trip, no key in the store."""

import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lamp_files import FILES, STARTED, claude_code, lines, sample, write
from round_trip import came_back

from tutelage.collect import import_traces
from tutelage.collect.export import FORMATS as EXPORTS
from tutelage.store import TraceStore

KEY = "sk-Zq3vKey-0123456789"
KEYS = ["role", "content", "messages", "type", "message", "response", "request", "payload", "parts", "output", "input"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


def damaged(draw: Any, value: Any) -> Any:
    """`value` with something put in the place of something in it."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], damaged(draw, value[index]), *value[index + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 5)) == 0:
        return {name: item for name, item in value.items() if name != key}
    return {**value, key: damaged(draw, value[key])}


def with_keys(value: Any, top: bool = True) -> Any:
    """`value` with credentials beside each record, call and message, as recorders leave them there."""
    if isinstance(value, list):
        return [with_keys(item, top) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: with_keys(item, top=False) for name, item in value.items()}
    if top or "role" in value or "model" in value:
        found |= {
            "authorization": f"Bearer {KEY}",
            "headers": {"x-api-key": KEY},
            "url": f"https://h/?key=Bearer {KEY}",
        }
    return found


# All examples of a test share the store, each as a run of its own.
FUZZ: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def no_crash_no_loss_no_key(store: TraceStore, path: Path, format: str | None) -> None:
    summary = import_traces(store, path, format=format, run=uuid.uuid4().hex)
    traces = list(store.traces(run=summary.run))
    assert summary.imported == len(traces)
    for trace in traces:
        assert KEY not in trace.model_dump_json()
        for form in EXPORTS:
            assert came_back(trace, form, path.parent).messages == trace.messages


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=12, **FUZZ)
@given(data=st.data())
def test_no_damage_to_a_file_ends_in_more_than_a_fault(
    tmp_path: Path, store: TraceStore, name: str, data: st.DataObject
) -> None:
    file, value = FILES[name]
    broken = damaged(data.draw, with_keys(value))
    if file.endswith(("l", ".parquet")) and not isinstance(broken, list):
        broken = [broken]
    if file.endswith(".parquet"):
        broken = [row for row in broken if isinstance(row, dict)]
    try:
        path = write(tmp_path, file, broken)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return  # of which no table can be made
    for format in (None, name.split()[0]):
        no_crash_no_loss_no_key(store, path, format)


def archive() -> bytes:
    """A log in inspect_ai's archive, a sample packed as it packs them and one as it is."""
    with zipfile.ZipFile(found := io.BytesIO(), "w") as file:
        file.writestr(
            "header.json", json.dumps(with_keys({"version": 2, "eval": {"model": "gpt", "created": STARTED}}))
        )
        file.writestr("samples/7_epoch_1.json", json.dumps(sample()), zipfile.ZIP_DEFLATED)
        file.writestr("samples/8_epoch_1.json", json.dumps(with_keys(sample())))
    return found.getvalue()


def table() -> bytes:
    found = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(with_keys(FILES["huggingface"][1])), found)
    return found.getvalue()


BYTES = {
    "a.eval": archive(),
    "b.parquet": table(),
    "c.jsonl": lines(*claude_code()).encode(),
    "d.json": json.dumps(FILES["trace"][1], indent=1, ensure_ascii=False).encode(),
}


@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=40, **FUZZ)
@given(data=st.data())
def test_no_damage_to_bytes_ends_in_more_than_a_fault(
    tmp_path: Path, store: TraceStore, name: str, data: st.DataObject
) -> None:
    whole = BYTES[name]
    start = data.draw(st.integers(0, len(whole)))
    put = data.draw(st.binary(max_size=4))
    path = tmp_path / name
    path.write_bytes(whole[:start] + put + whole[start + data.draw(st.sampled_from([0, len(put), 40, len(whole)])) :])
    no_crash_no_loss_no_key(store, path, None)
