"""Reads a table of the lake by programs that others wrote, with no Naru running: rows, distinct ids, sum, columns."""

import glob
import json
import os
import sys


def newest(table):
    files = glob.glob(os.path.join(table, "metadata", "*.metadata.json"))
    return max(files, key=lambda name: int(os.path.basename(name).split("-")[0]))


def duckdb_reads(metadata, column):
    import duckdb
    import duckdb_extension_iceberg

    connection = duckdb.connect()
    folder = os.path.dirname(duckdb_extension_iceberg.__file__)
    extension = glob.glob(os.path.join(folder, "**", "iceberg.duckdb_extension"), recursive=True)
    avro = glob.glob(os.path.join(os.path.dirname(folder), "duckdb_extension_avro", "**", "avro.duckdb_extension"), recursive=True)
    for file in avro + extension:
        connection.execute(f"LOAD '{file}'")
    sql = f"select count(*), count(distinct id), sum({column})::bigint from iceberg_scan('{metadata}')"
    return connection.execute(sql).fetchone()


def pyiceberg_reads(metadata, column):
    from pyiceberg.table import StaticTable

    rows = StaticTable.from_metadata(metadata).scan().to_arrow()
    ids = rows.column("id").to_pylist()
    return len(ids), len(set(ids)), sum(value for value in rows.column(column).to_pylist() if value is not None)


def rest_reads(url, column):
    from pyiceberg.catalog.rest import RestCatalog

    catalog = RestCatalog("naru", uri=url)
    assert catalog.list_namespaces() == [("pay",)], catalog.list_namespaces()
    assert catalog.list_tables("pay") == [("pay", "payments")], catalog.list_tables("pay")
    rows = catalog.load_table("pay.payments").scan().to_arrow()
    ids = rows.column("id").to_pylist()
    return len(ids), len(set(ids)), sum(rows.column(column).to_pylist())


def chdb_reads(metadata, column):
    import chdb

    table = os.path.dirname(os.path.dirname(metadata))
    os.chdir(table)  # it reads nothing outside the folder that it runs in
    sql = f"select count(), uniqExact(id), sum({column}) from icebergLocal('{table}')"
    said = str(chdb.query(sql, "CSV")).strip()
    return tuple(int(part) for part in said.split(","))


def main():
    table, column = sys.argv[1], sys.argv[2]
    if table.startswith("http"):
        print(json.dumps({"rest": rest_reads(table, column)}))
        return
    metadata = newest(table)
    readers = {"duckdb": duckdb_reads, "pyiceberg": pyiceberg_reads, "chdb": chdb_reads}
    answer = {}
    for name in sys.argv[3:] or readers:
        answer[name] = [int(part) for part in readers[name](metadata, column)]
    print(json.dumps(answer, sort_keys=True))


main()
