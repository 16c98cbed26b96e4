import doctest
import importlib

import pytest

MODULES = [
    "feature_extraction_ecg",
    "attention_pool",
    "modeling_ecgcpc",
    "modeling_ecgfounder",
    "modeling_enecg",
    "modeling_stmem",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_model_file_run(name):
    result = doctest.testmod(importlib.import_module(f"modeling_enecg.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
