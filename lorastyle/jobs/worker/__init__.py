"""The processes that do the jobs.

    lorastyle worker --root R        the worker: it starts the others, and notices when one dies (supervisor.py)
      training                       one process for each training, one at a time                (runner.py)
      quick                          one process for everything else, warm while there is work   (runner.py)

Each takes its jobs from the store by itself and keeps them by a beat (keeper.py), so that a worker that is killed
takes nothing with it, and another goes on where it was.
"""
