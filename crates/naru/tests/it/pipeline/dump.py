"""Prints the rows of a table of payments, from its files alone: dump.py READER TABLE."""

import os
import sys

COLUMNS = ["id", "status", "amount", "note"]


def duckdb_rows(metadata):
    import glob

    import duckdb
    import duckdb_extension_iceberg

    connection = duckdb.connect()
    folder = os.path.dirname(duckdb_extension_iceberg.__file__)
    extension = glob.glob(os.path.join(folder, "**", "iceberg.duckdb_extension"), recursive=True)
    avro = os.path.join(os.path.dirname(folder), "duckdb_extension_avro", "**", "avro.duckdb_extension")
    for file in glob.glob(avro, recursive=True) + extension:
        connection.execute(f"LOAD '{file}'")
    return connection.execute(f"select {', '.join(COLUMNS)} from iceberg_scan('{metadata}')").fetchall()


def pyiceberg_rows(metadata):
    from pyiceberg.table import StaticTable

    rows = StaticTable.from_metadata(metadata).scan(selected_fields=tuple(COLUMNS)).to_arrow()
    return zip(*(rows.column(name).to_pylist() for name in COLUMNS))


def newest(table):
    folder = os.path.join(table, "metadata")
    files = [name for name in os.listdir(folder) if name.endswith(".metadata.json")]
    return os.path.join(folder, max(files, key=lambda name: int(name.split("-")[0])))


def main(reader, table):
    rows = {"duckdb": duckdb_rows, "pyiceberg": pyiceberg_rows}[reader](newest(table))
    for row in rows:
        print("|".join("" if value is None else str(value) for value in row))


main(*sys.argv[1:])
