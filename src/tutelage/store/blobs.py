"""What tools gave back beside the text that a model reads: pictures, files, the whole of a result that was cut.

A blob is stored once, under the SHA-256 of its bytes; messages name it by that (trace.Part).
"""

import hashlib
from collections.abc import Iterable

from sqlalchemy import Connection, Engine, select

from tutelage.store import schema
from tutelage.store.once import insert_once


def blob_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep_blobs(connection: Connection, trace_id: str, blobs: Iterable[bytes]) -> None:
    """Store what is not there yet, and that the trace uses it."""
    for data in blobs:
        id = blob_id(data)
        insert_once(connection, schema.blobs, id=id, body=data)
        insert_once(connection, schema.blob_uses, trace_id=trace_id, blob_id=id)


def read_blob(engine: Engine, id: str) -> bytes | None:
    with engine.connect() as connection:
        return connection.scalar(select(schema.blobs.c.body).where(schema.blobs.c.id == id))
