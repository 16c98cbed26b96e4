"""Folders of ECG files with a table of labels."""
