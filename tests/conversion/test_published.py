"""The table of published weights is whole, and a command prints it."""

from modeling_enecg import BACKBONES
from modeling_enecg.cli import main
from modeling_enecg.conversion import CONVERTERS
from modeling_enecg.conversion.published import PUBLISHED


def test_every_backbone_and_converter_is_listed_once():
    assert sorted(weights.name for weights in PUBLISHED) == sorted(CONVERTERS)
    assert sorted(weights.model_type for weights in PUBLISHED) == sorted(BACKBONES)


def test_the_experts_command_names_size_input_licence_and_command(capsys):
    main(["experts"])
    printed = capsys.readouterr().out
    assert "30,598,896 parameters; 10 s at 500 Hz" in printed
    for weights in PUBLISHED:
        assert weights.licence in printed
        assert f"enecg convert {weights.name} " in printed
