"""The steps to the newest tables, in Alembic's form. A step that has been released never changes: add another.

A step must leave the tables usable for the release before it, which still runs while the new one starts.
"""
