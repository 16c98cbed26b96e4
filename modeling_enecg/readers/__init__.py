"""Readers of file formats: each module has `read(path)`, which returns a `FileContent`."""
