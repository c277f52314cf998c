"""The tables of the journal, and the update of an older node's tables."""

from __future__ import annotations

import sqlite3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    number INTEGER PRIMARY KEY,
    study TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    caller TEXT NOT NULL DEFAULT '',
    run INTEGER NOT NULL DEFAULT 0,
    digest TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    first_received_at REAL NOT NULL,
    received_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    details TEXT NOT NULL DEFAULT '{}',
    purged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS results (
    study TEXT NOT NULL,
    run INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    file TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (study, run, sop_instance_uid)
);
CREATE TABLE IF NOT EXISTS deliveries (
    study TEXT NOT NULL,
    run INTEGER NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    transaction_uid TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    changed_at REAL NOT NULL,
    PRIMARY KEY (study, run, destination)
);
CREATE TABLE IF NOT EXISTS transitions (
    number INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    state TEXT NOT NULL,
    run INTEGER NOT NULL,
    at REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state);
CREATE INDEX IF NOT EXISTS transitions_by_study ON transitions (study);
"""


def make_tables(connection: sqlite3.Connection) -> None:
    """Make missing tables and columns."""
    connection.executescript(_SCHEMA)
    columns = {row[1] for row in connection.execute("PRAGMA table_info(results)")}
    if "series_instance_uid" not in columns:
        connection.execute(
            "ALTER TABLE results ADD COLUMN series_instance_uid TEXT NOT NULL DEFAULT ''"
        )
