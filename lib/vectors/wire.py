"""Vectors as pgvector sends and takes them in binary."""

import struct
from typing import Any

import numpy
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from lib.vectors.database import Connection
from lib.vectors.errors import VectorError

Matrix = NDArray[numpy.float32]


def packed(vector: Matrix) -> bytes:
    """A vector in pgvector's binary form."""
    data = numpy.asarray(vector, dtype=">f4")
    return struct.pack(">hh", data.size, 0) + data.tobytes()


def unpacked(rows: list[bytes]) -> Matrix:
    """Vectors of equal length from pgvector's binary form, one a row."""
    joined = b"".join(row[4:] for row in rows)
    return numpy.frombuffer(joined, dtype=">f4").reshape(len(rows), -1).astype(numpy.float32)


def register(connection: Connection) -> None:
    """Let the connection take numpy arrays as ``vector`` parameters, in binary."""
    info = TypeInfo.fetch(connection, "vector")
    if info is None:
        raise VectorError(
            "The database has no type 'vector'.",
            expected="the extension pgvector in this database",
            remedy="create extension vector",
        )
    connection.adapters.register_dumper(
        numpy.ndarray, type("VectorDumper", (_VectorDumper,), {"oid": info.oid})
    )


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return packed(obj)
