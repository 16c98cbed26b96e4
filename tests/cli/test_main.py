import pytest

from modeling_enecg import __version__
from modeling_enecg.cli import main


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["predict", "--help"], ["convert", "--help"]])
def test_version_and_help_are_printed(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    output = capsys.readouterr().out
    if arguments == ["--version"]:
        assert output == f"enecg {__version__}\n"
    else:
        assert output.startswith("usage: enecg")
    if arguments == ["--help"]:
        assert "not a medical device" in output


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: enecg" in capsys.readouterr().err
