"""Asks the lake by clients that others wrote: psycopg in both its protocols, and SQLAlchemy."""

import sys


def psycopg_asks(port, user, password):
    import psycopg

    url = f"host=127.0.0.1 port={port} user={user} password={password} dbname=naru"
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(8):  # prepared after five
            row = connection.execute("select count(*), sum(amount) from pay.payments where merchant = %s", ("shop",)).fetchone()
        assert row == (3, 60), row
        row = connection.execute("select id, at from pay.payments where amount >= %s order by id limit 1", (20,)).fetchone()
        assert row[0] == "p2" and row[1].tzinfo is not None, row
        binary = connection.cursor(binary=True).execute("select amount, payer from pay.payments order by id").fetchall()
        assert [amount for amount, _ in binary] == [10, 20, 30], binary
        try:
            connection.execute("delete from pay.payments")
        except psycopg.errors.ReadOnlySqlTransaction:
            pass
        else:
            raise AssertionError("it was not refused")
    with psycopg.connect(url) as connection:  # within a transaction
        assert connection.execute("select 1").fetchone() == (1,)
        connection.commit()


def sqlalchemy_asks(port, user, password):
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{user}:{password}@127.0.0.1:{port}/naru", use_native_hstore=False)
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("select merchant, sum(amount) as total from pay.payments group by merchant")).all()
        assert [tuple(row) for row in rows] == [("shop", 60)], rows
        table = sqlalchemy.table("payments", sqlalchemy.column("id"), sqlalchemy.column("amount"), schema="pay")
        query = sqlalchemy.select(table.c.id).where(table.c.amount > 10).order_by(table.c.id)
        assert connection.execute(query).scalars().all() == ["p2", "p3"]


def main():
    port, user, password = sys.argv[2:5]
    {"psycopg": psycopg_asks, "sqlalchemy": sqlalchemy_asks}[sys.argv[1]](port, user, password)
    print(f"{sys.argv[1]}: ok")


main()
