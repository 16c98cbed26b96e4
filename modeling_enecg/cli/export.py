"""`enecg export`: a model as one file for onnxruntime."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._parsers import Commands, add_model_arguments, check_model, new_parser, quiet_libraries

if TYPE_CHECKING:
    from ..prediction import Predictor


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "export",
        "Write a model as an ONNX file, with all that prediction needs.",
        "enecg export runs/smoke smoke.onnx --int8 --check new_recordings\n"
        "enecg predict smoke.onnx PTB-XL/records500/00000/00001_hr",
        "`enecg predict FILE.onnx` needs onnxruntime and no torch.",
    )
    add_model_arguments(parser)
    file = parser.add_argument_group("file")
    file.add_argument("file", metavar="FILE.onnx", help="The file is written here, over an older one.")
    file.add_argument(
        "--int8",
        action="store_true",
        help="The weights are kept in 8 bits: a file of about a quarter, with other probabilities.",
    )
    file.add_argument(
        "--check",
        metavar="FOLDER_OR_DATASET",
        help="What the file finds in these records is compared with what the model finds: in a folder of recordings, "
        "or a dataset; of many, 100.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Export, and say how far the file is from the model."""
    if Path(options.file).suffix != ".onnx":
        raise ValueError(f"The file must end in .onnx, by which `enecg predict` knows it; got {options.file}.")
    check_model(options)
    from ..export.graph import export_model
    from ..prediction import Predictor

    quiet_libraries()
    predictor = Predictor(options.model, options.adapter)
    file = export_model(predictor.model, predictor.extractor, options.file, options.int8)
    weights = "weights in 8 bits" if options.int8 else "equal to the model within 1e-4 on random records"
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, {weights}.")
    if options.check:
        _compare(predictor, file, options.check)
    elif options.int8:
        print("What 8 bits lose was not measured; --check FOLDER measures it on records of yours.")


def _compare(predictor: "Predictor", file: Path, place: str) -> None:
    from ..export import OnnxPredictor
    from ..export.comparison import compare

    tasks = list(predictor.model.tasks.values())
    differences, number = compare(predictor, OnnxPredictor(file), tasks, _records(predictor, place))
    print(f"Against the model, on {number} records of {place}:")
    for each in differences:
        print(f"  {each.task.name}: {each}")


def _records(predictor: "Predictor", place: str) -> Iterator[Any]:
    """Read the recordings of a folder, or a dataset: a Hub id, or a folder that has none, or has them at two rates."""
    from ..data.folder.recordings import recordings
    from ..data.ptbxl.metadata import DATABASE_CSV
    from ..data.sources import DatasetOptions
    from ..export.comparison import records_of_dataset, records_of_folder
    from ..prediction.dataset import options_for

    is_ptbxl = Path(place, DATABASE_CSV).is_file()
    if not is_ptbxl and any(recordings(Path(place))):
        return records_of_folder(place)
    return records_of_dataset(options_for(predictor, DatasetOptions(place)))
