import pytest

from modeling_enecg.cli import main


@pytest.fixture
def run(capsys):
    """A function that runs the command in this process; it returns what was printed."""

    def run(*arguments):
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run
