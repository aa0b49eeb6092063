"""The factory floor: what runs over many files or many machines, on Ray. Each job is `python -m jobs.NAME`."""
