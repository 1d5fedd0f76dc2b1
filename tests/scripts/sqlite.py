"""Processes that share one SQLite database, with a write-ahead log and mapped memory.

usage: sqlite.py make DB                       an empty database
       sqlite.py write DB WRITER COUNT         commits transactions 1 to COUNT, and prints the number of each when it is committed
       sqlite.py read DB                       judges what it sees until its input ends, then prints how often
       sqlite.py judge DB WRITER:LOW:HIGH...   requires that of each writer exactly the transactions 1 to n are there, LOW <= n <= HIGH

What a transaction writes follows from its writer and its number. It adds its rows, and counts in its writer's total and in that of all:
whoever sees a part of a transaction sees a wrong sum.
"""
import os
import random
import select
import sqlite3
import sys

MAPPED = 256 << 20


def connect(path):
    db = sqlite3.connect(path, isolation_level=None, timeout=120)
    ask = lambda pragma: db.execute(f"PRAGMA {pragma}").fetchone()
    assert ask("journal_mode=wal") == ("wal",)
    assert ask(f"mmap_size={MAPPED}") == (MAPPED,), "this SQLite maps no memory"
    db.execute("PRAGMA synchronous=FULL")
    # Few pages of its own, so that it reads through the mapping, and a log that is copied into the database all the time.
    db.execute("PRAGMA cache_size=20")
    db.execute("PRAGMA wal_autocheckpoint=50")
    return db


def make(path):
    db = connect(path)
    db.executescript("""
        CREATE TABLE parts (writer INTEGER, number INTEGER, part INTEGER, bytes BLOB, PRIMARY KEY (writer, number, part)) WITHOUT ROWID;
        CREATE INDEX by_length ON parts (length(bytes), part);
        CREATE TABLE totals (writer INTEGER PRIMARY KEY, transactions INTEGER, bytes INTEGER);
        INSERT INTO totals VALUES (0, 0, 0);
    """)
    db.close()


def parts(writer, number):
    """The bytes that a transaction writes, part by part; one in 16 is longer than a page."""
    dice = random.Random(writer << 32 | number)
    return [dice.randbytes(dice.randrange(9_000 if dice.randrange(16) == 0 else 900)) for _ in range(1 + number % 4)]


def write(path, writer, count):
    db = connect(path)
    for number in range(1, count + 1):
        db.execute("BEGIN IMMEDIATE")
        written = parts(writer, number)
        for part, content in enumerate(written):
            db.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", (writer, number, part, content))
        length = sum(map(len, written))
        db.execute("INSERT OR IGNORE INTO totals VALUES (?, 0, 0)", (writer,))
        db.execute("UPDATE totals SET transactions = transactions + 1, bytes = bytes + ? WHERE writer IN (0, ?)", (length, writer))
        db.execute("COMMIT")
        os.write(1, b"%d\n" % number)
        if number % 50 == 0:
            # Cuts the log to nothing, if nobody reads in it.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()


def sums(db):
    """Requires that the totals are the sums of the parts; returns the number of transactions of each writer."""
    db.execute("BEGIN")
    totals = {writer: rest for writer, *rest in db.execute("SELECT writer, transactions, bytes FROM totals")}
    query = "SELECT writer, count(DISTINCT number), total(length(bytes)), max(number) FROM parts GROUP BY writer"
    found = {writer: rest for writer, *rest in db.execute(query)}
    everybody = totals.pop(0)
    assert {writer: rest[:2] for writer, rest in found.items()} == totals, (found, totals)
    assert all(count == last for count, _, last in found.values()), f"a gap: {found}"
    assert everybody == [sum(column) for column in zip([0, 0], *totals.values())], (everybody, totals)
    db.execute("COMMIT")
    return {writer: count for writer, (count, _) in totals.items()}


def whole(db):
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def read(path):
    db = connect(path)
    seen, rounds, dice = {}, 0, random.Random(os.getpid())
    # At the end of its input that is readable. Without a pause the readers would leave the writers no processor.
    while not select.select([0], [], [], 0.005)[0]:
        now = sums(db)
        assert all(now.get(writer, 0) >= count for writer, count in seen.items()), f"{now} after {seen}"
        seen, rounds = now, rounds + 1
        for writer, count in seen.items():
            number = dice.randint(1, count)
            rows = db.execute("SELECT bytes FROM parts WHERE writer = ? AND number = ? ORDER BY part", (writer, number))
            assert [content for content, in rows] == parts(writer, number), (writer, number)
        if rounds % 10 == 0:
            whole(db)
    with open("/proc/self/maps") as maps:
        assert any(line.rstrip().endswith(os.path.realpath(path)) for line in maps), "the database was not mapped"
    db.close()
    print(rounds)


def judge(path, told):
    db = connect(path)
    whole(db)
    found = sums(db)
    for writer, low, high in (map(int, word.split(":")) for word in told):
        count = found.pop(writer, 0)
        assert low <= count <= high, f"writer {writer} was told of {low} to {high}, and {count} are there"
        rows = db.execute("SELECT number, part, bytes FROM parts WHERE writer = ? ORDER BY number, part", (writer,)).fetchall()
        expected = [(number, part, content) for number in range(1, count + 1) for part, content in enumerate(parts(writer, number))]
        assert rows == expected, f"writer {writer}: the rows differ"
    assert not found, f"nobody wrote these: {found}"
    db.close()


verb, path, *rest = sys.argv[1:]
if verb == "judge":
    judge(path, rest)
else:
    {"make": make, "write": write, "read": read}[verb](path, *map(int, rest))
