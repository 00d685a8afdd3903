"""The workspace: where a person's datasets, jobs and adapters lie, and what may be done with them.

    workspace.py   Workspace: the folder of a studio     settings.py   its settings, and the limits that all keep
    area.py        Area: what one person has             users.py      who may log in
    drafts/        datasets being prepared               library/      adapters, their notes and their bin
    database.py    the SQLite file of one person         names.py      ids, and names that people chose

No torch: the front end and the command line load this at once.
"""
