"""Jobs: the queue that everything long goes through, and the process that works through it.

store.py      Jobs: what people do with jobs            job.py        a job and its states
tasks.py      the settings of each task, checked        run_files.py  reading what a job writes while it runs
leases.py     what the worker does with jobs            processes.py  which process is which
database.py   the SQLite file under both                redaction.py  what a log may not show
worker/       the processes; they alone import the public package
"""
