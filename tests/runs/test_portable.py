import pytest

from modeling_enecg.runs.portable import is_hub_id, machine_paths, without_machine_paths

PATHS = {
    "/home/me/run/model.safetensors": "model.safetensors",
    "--data_dir /mnt/d/ptb-xl --seed 1": "--data_dir ptb-xl --seed 1",
    "cannot be read (/srv/ptb/00001_lr.dat).": "cannot be read (00001_lr.dat).",
    "C:\\Users\\me\\run": "run",
    "~/runs/base": "base",
    "~me/runs/base": "base",
    "$HOME/runs/base": "base",
    "${HOME}/base": "base",
    "%USERPROFILE%\\run": "run",
    "![x](file:///home/me/a.png)": "![x](a.png)",
    "FILE:///home/me/a.png": "a.png",
}
HARMLESS = [
    "https://huggingface.co/org/name",
    "org/name",
    "checkpoints/vit",
    "../shared/x",
    "and/or/else",
    "I/II/III",
    "1/min",
    "~5/6 of $a/b$",
    "/min",
    "](figures/a.png)",
    "arXiv 2106.09685",
]


@pytest.mark.parametrize(("text", "name"), PATHS.items())
def test_an_absolute_path_is_found_in_a_text_and_only_its_name_is_kept(text, name):
    assert len(list(machine_paths(text))) == 1
    assert without_machine_paths(text) == name
    assert not list(machine_paths(name))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_absolute_path_is_left_alone(text):
    assert list(machine_paths(text)) == []
    assert without_machine_paths(text) == text


def test_paths_are_found_by_field_in_values_and_keys(tmp_path):
    (tmp_path / "with space").mkdir()
    place = str(tmp_path / "with space")
    value = {"recipe": {"experts": [{"path": place}, 3, None]}, "/data/me/x": True}
    assert dict(machine_paths(value)) == {"recipe.experts.0.path": place, "/data/me/x": "/data/me/x"}
    assert without_machine_paths(value)["recipe"] == {"experts": [{"path": "with space"}, 3, None]}


def test_a_hub_id_has_an_owner_and_is_no_folder_here(tmp_path, monkeypatch):
    assert is_hub_id("org/name-1.0_x")
    for text in ("name", "/org/name", "a/b/c", "https://huggingface.co/org/name", "None", ""):
        assert not is_hub_id(text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not is_hub_id("org/name")
