"""What the service knows of its videos, in SQL: SQLite as the embedded default, PostgreSQL by URL.

`open_engine` and `upgrade` come first. Then each function is one transaction, takes the engine, and raises
`DatabaseUnavailable` where the database does not answer: nothing of it has happened then, or, where the connection was
lost while it was committed, all of it.
"""
