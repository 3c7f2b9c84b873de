"""What a project's folder holds of traces that are to be erased: rows of builds, and adapters trained on them."""

from collections.abc import Collection
from pathlib import Path
from shutil import copyfile

from tutelage.dataset.card import card
from tutelage.dataset.left_out import copy_left_out, left_out_of
from tutelage.dataset.pairs import SIDES, pairs_file
from tutelage.dataset.prefixes import PrefixCounter
from tutelage.dataset.read import read_rows, read_summary
from tutelage.dataset.summary import SPLITS, BuildSummary, Split, SplitName
from tutelage.dataset.write import BUILD_FILE, replacing

TRAINED_FILES = ("adapter_config.json", "config.json")  # of an adapter, of a whole model


def builds_with(folder: Path, trace_ids: Collection[str]) -> list[Path]:
    """The builds right below `folder` that hold rows of these traces, or say why they hold none."""
    found = [build for build in _folders(folder, "*") if _rows_file(build, "train").is_file()]
    return [build for build in found if not (_built_of(build) | left_out_of(build)).isdisjoint(trace_ids)]


def adapters_with(folder: Path, trace_ids: Collection[str]) -> list[Path]:
    """The adapters and whole models in the folders below `folder` that were trained on these traces."""
    found = [*_folders(folder, "*"), *_folders(folder, "*/*")]
    adapters = [folder for folder in found if any((folder / name).is_file() for name in TRAINED_FILES)]
    return [adapter for adapter in adapters if not _learnt_of(read_summary(adapter)).isdisjoint(trace_ids)]


def _learnt_of(summary: BuildSummary) -> set[str]:
    return {*summary.trace_ids, *summary.pair_trace_ids}


def erase_rows(build: Path, trace_ids: Collection[str]) -> int:
    """Write the build anew without the rows of these traces; how many there were."""
    summary = read_summary(build)
    gone, built = set(trace_ids), _built_of(build)
    erased = 0
    with replacing(build) as folder, PrefixCounter(folder) as prefixes:
        for name in SPLITS:
            split, before = getattr(summary, name), getattr(summary, name).rows
            found = _copy_split(_rows_file(build, name), _rows_file(folder, name), gone, prefixes, name)
            setattr(summary, name, found.model_copy(update={"tasks": split.tasks}))
            erased += before - found.rows
            if pairs_file(build, name).is_file():
                summary.pairs[name] = _copy_pairs(pairs_file(build, name), pairs_file(folder, name), gone)
        summary.pairs = {name: count for name, count in summary.pairs.items() if count}
        summary.pair_trace_ids = sorted(_pairs_of(folder))
        summary.tokens_unrolled, summary.tokens_tree = summary.train.tokens_unrolled, prefixes.count
        summary.traces_kept = summary.train.traces + summary.validation.traces
        summary.trace_ids = sorted(set(summary.trace_ids) - gone)
        summary.erased += len(gone & built)
        summary.left_out_first = _without(summary.left_out_first, gone)
        copy_left_out(build, folder, gone)
        for file in build.iterdir():
            if file.is_file() and not (folder / file.name).exists():
                copyfile(file, folder / file.name)
        (folder / "README.md").write_text(card(summary), encoding="utf-8")
        (folder / BUILD_FILE).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return erased


def _without(first: dict[str, list[str]], gone: Collection[str]) -> dict[str, list[str]]:
    kept = {reason: [name for name in names if name.split()[0] not in gone] for reason, names in first.items()}
    return {reason: names for reason, names in kept.items() if names}


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


def _copy_pairs(source: Path, target: Path, gone: Collection[str]) -> int:
    """The pairs neither of whose traces is gone; how many."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table, unwanted = pq.read_table(source), pa.array(sorted(gone), pa.string())
    for side in SIDES:
        table = table.filter(pc.invert(pc.is_in(table[f"{side}_id"], value_set=unwanted)))
    pq.write_table(table, target, compression="zstd")
    return int(table.num_rows)


def _pairs_of(build: Path) -> set[str]:
    """Ids of the traces that stand in pairs."""
    import pyarrow.parquet as pq

    files = [pairs_file(build, split) for split in SPLITS if pairs_file(build, split).is_file()]
    columns = [column for file in files for column in pq.read_table(file, columns=[f"{side}_id" for side in SIDES])]
    return {id for column in columns for id in column.to_pylist()}


def _folders(folder: Path, pattern: str) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"{pattern}/{BUILD_FILE}"))


def _built_of(build: Path) -> set[str]:
    """Ids of the traces that have rows or stand in pairs."""
    with_rows = {row["trace_id"] for split in SPLITS for row in read_rows(build, split, ("trace_id",))}
    return with_rows | _pairs_of(build)


def _rows_file(folder: Path, split: SplitName) -> Path:
    return folder / f"{split}.parquet"
