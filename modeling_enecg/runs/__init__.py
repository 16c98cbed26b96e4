"""Run folders: what lies where, what is said of a run, and how files are written."""
