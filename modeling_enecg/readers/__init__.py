"""Readers of file formats, and what some of them share.

`modeling_enecg.io` calls the `read(path)` of the module that it finds for a file. XML files go on from `xml` to the
`parse(root)` of their format.
"""
