"""What a project's folder holds of traces that are to be erased: rows of builds, and adapters trained on them."""

from collections.abc import Collection
from pathlib import Path
from shutil import copyfile

from tutelage.dataset.card import card
from tutelage.dataset.prefixes import PrefixCounter
from tutelage.dataset.read import read_rows, read_summary
from tutelage.dataset.summary import SPLITS, Split, SplitName
from tutelage.dataset.write import BUILD_FILE, replacing

ADAPTER_FILE = "adapter_config.json"


def builds_with(folder: Path, trace_ids: Collection[str]) -> list[Path]:
    """The builds right below `folder` that hold rows of these traces."""
    found = [build for build in _folders(folder, "*") if _rows_file(build, "train").is_file()]
    return [build for build in found if not _built_of(build).isdisjoint(trace_ids)]


def adapters_with(folder: Path, trace_ids: Collection[str]) -> list[Path]:
    """The adapters in the folders below `folder` that were trained on these traces."""
    found = [*_folders(folder, "*"), *_folders(folder, "*/*")]
    adapters = [folder for folder in found if (folder / ADAPTER_FILE).is_file()]
    return [adapter for adapter in adapters if not set(read_summary(adapter).trace_ids).isdisjoint(trace_ids)]


def erase_rows(build: Path, trace_ids: Collection[str]) -> int:
    """Write the build anew without the rows of these traces; how many there were."""
    summary = read_summary(build)
    gone = set(trace_ids) & _built_of(build)
    erased = 0
    with replacing(build) as folder, PrefixCounter(folder) as prefixes:
        for name in SPLITS:
            split, before = getattr(summary, name), getattr(summary, name).rows
            found = _copy_split(_rows_file(build, name), _rows_file(folder, name), gone, prefixes, name)
            setattr(summary, name, found.model_copy(update={"tasks": split.tasks}))
            erased += before - found.rows
        summary.tokens_unrolled, summary.tokens_tree = summary.train.tokens_unrolled, prefixes.count
        summary.traces_kept = summary.train.traces + summary.validation.traces
        summary.trace_ids = sorted(set(summary.trace_ids) - gone)
        summary.erased += len(gone)
        for file in build.iterdir():
            if file.is_file() and not (folder / file.name).exists():
                copyfile(file, folder / file.name)
        (folder / "README.md").write_text(card(summary), encoding="utf-8")
        (folder / BUILD_FILE).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return erased


def _copy_split(source: Path, target: Path, gone: Collection[str], prefixes: PrefixCounter, name: SplitName) -> Split:
    """The rows that stay, a batch at a time; their figures."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    split, traces = Split(), set[str]()
    file = pq.ParquetFile(source)
    unwanted = pa.array(sorted(gone), pa.string())
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=512):
            kept = batch.filter(pc.invert(pc.is_in(batch["trace_id"], value_set=unwanted)))
            writer.write_batch(kept)
            for row in kept.select(["trace_id", "input_ids", "weights"]).to_pylist():
                traces.add(row["trace_id"])
                split.rows += 1
                split.tokens_unrolled += len(row["input_ids"])
                split.tokens_trained += sum(weight > 0 for weight in row["weights"])
                if name == "train":
                    prefixes.add(row["input_ids"])
    split.traces = len(traces)
    return split


def _folders(folder: Path, pattern: str) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"{pattern}/{BUILD_FILE}"))


def _built_of(build: Path) -> set[str]:
    """Ids of the traces that have rows."""
    return {row["trace_id"] for split in SPLITS for row in read_rows(build, split, ("trace_id",))}


def _rows_file(folder: Path, split: SplitName) -> Path:
    return folder / f"{split}.parquet"
