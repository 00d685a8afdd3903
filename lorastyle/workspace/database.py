"""The SQLite file of one person: datasets with their images and edits, and what is known of adapters.

Every change is one transaction that reads what it changes after it has taken the write lock, so that of any number of
writers, in any number of processes, none overwrites what another has just written.
"""

from lorastyle.jobs.database import Database

SCHEMA = """
CREATE TABLE datasets (id TEXT PRIMARY KEY, title TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE images (
    id TEXT PRIMARY KEY, dataset TEXT NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
    caption TEXT NOT NULL, by_person INTEGER NOT NULL, focus_x REAL NOT NULL, focus_y REAL NOT NULL,
    repeats INTEGER NOT NULL, removed INTEGER NOT NULL DEFAULT 0, look TEXT NOT NULL
);
CREATE INDEX by_dataset ON images (dataset, place);
CREATE TABLE edits (id INTEGER PRIMARY KEY AUTOINCREMENT, dataset TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE changes (edit INTEGER NOT NULL, image TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL);
CREATE INDEX by_edit ON changes (edit);
CREATE TABLE refused (dataset TEXT NOT NULL, sentence TEXT NOT NULL);
CREATE TABLE waiting (dataset TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (dataset, name));
CREATE TABLE adapters (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, file TEXT NOT NULL, facts TEXT NOT NULL, date REAL NOT NULL,
    bytes INTEGER NOT NULL, tags TEXT NOT NULL DEFAULT '[]', notes TEXT NOT NULL DEFAULT '',
    strength REAL NOT NULL DEFAULT 1, job TEXT NOT NULL DEFAULT '', step INTEGER, binned REAL
);
CREATE TABLE taken_over (job TEXT PRIMARY KEY);
"""
# A job's own adapter, beside which others of its checkpoints may be kept.
OWN_ADAPTER = """
ALTER TABLE taken_over ADD COLUMN adapter TEXT;
UPDATE taken_over SET adapter = (SELECT id FROM adapters WHERE adapters.job = taken_over.job ORDER BY date LIMIT 1);
"""


class AreaDatabase(Database):
    """One connection, shared by the threads of a process."""

    versions = (SCHEMA, OWN_ADAPTER)
