"""What belongs to a model lies in its folder: nothing else is pushed, whatever a link or a card names."""

import pytest

from modeling_enecg.hub.pushed_files import model_files


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "token"
    path.write_text("hf_secret")
    return path


def test_a_link_that_leads_out_of_the_folder_is_refused(plain, secret):
    (plain / "figures").mkdir()
    (plain / "figures" / "a.png").symlink_to(secret)
    (plain / "README.md").write_text("![curves](figures/a.png)")
    with pytest.raises(ValueError, match=r"figures/a.png leads out of the folder; put a copy in its place"):
        model_files(plain)


def test_a_name_in_the_card_that_leads_out_of_the_folder_is_refused(plain, secret):
    (plain / "figures").mkdir()
    (plain / "README.md").write_text("![curves](figures/../../token)")
    with pytest.raises(ValueError, match="leads out of the folder"):
        model_files(plain)


def test_a_link_within_the_folder_is_followed(plain):
    (plain / "figures").mkdir()
    (plain / "figures" / "b.png").write_bytes(b"picture")
    (plain / "figures" / "a.png").symlink_to("b.png")
    (plain / "README.md").write_text("![curves](figures/a.png)")
    assert model_files(plain)["figures/a.png"].read_bytes() == b"picture"
