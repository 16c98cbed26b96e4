"""The tests; a package, so that no other package's `tests` folder is taken for this one."""
