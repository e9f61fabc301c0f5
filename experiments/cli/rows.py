"""The rows of a run as CSV, JSON lines or Parquet, written part by part."""

from typing import TYPE_CHECKING, BinaryIO, Literal

from experiments.record import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

Format = Literal["csv", "jsonl", "parquet"]


def write_rows(parts: "Iterable[pd.DataFrame]", out: BinaryIO, form: Format) -> None:
    """Write parts of a table with the columns of `analysis.Run.requests`; `out` may be a pipe."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    own = {name: SCHEMA.field(name).type for name in SCHEMA.names}
    writer = None
    for part in parts:
        # Counts that a part lacks are floats in pandas; here they are whole numbers again.
        schema = pa.schema([(name, own.get(name, pa.float64())) for name in part.columns])
        table = pa.Table.from_pandas(part, schema, preserve_index=False)
        if form == "jsonl":
            rows = table.to_pandas(types_mapper=pd.ArrowDtype)
            out.write(rows.to_json(orient="records", lines=True, force_ascii=False).encode())
            continue
        if writer is None:
            make = pa.csv.CSVWriter if form == "csv" else pa.parquet.ParquetWriter
            writer = make(out, schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
