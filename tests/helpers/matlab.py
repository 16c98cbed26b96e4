"""Writes MATLAB files of version 7.3, and the structure of CPSC 2018."""

import h5py
import numpy as np

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2IM"


def cpsc(mv, **fields):
    """The structure that a record of CPSC 2018 consists of."""
    return {"ECG": {"sex": "Male", "age": 74.0, "data": mv, **fields}}


def save_73(path, variables):
    """Write variables as MATLAB does: column by column, with their class, structures as groups."""

    def put(group, name, value):
        if isinstance(value, dict):
            made = group.create_group(name)
            for field, each in value.items():
                put(made, field, each)
            kind = "struct"
        elif isinstance(value, str):
            made, kind = group.create_dataset(name, data=np.array([[ord(each)] for each in value], np.uint16)), "char"
        else:
            array = np.atleast_2d(value)
            kind = {"float64": "double", "float32": "single"}.get(array.dtype.name, array.dtype.name)
            made = group.create_dataset(name, data=array.T, compression="gzip" if array.size > 1 else None)
        made.attrs["MATLAB_class"] = np.bytes_(kind)

    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in variables.items():
            put(file, name, value)
    with path.open("r+b") as stream:
        stream.write(HEADER)
    return path
