"""What several files of tests share."""

import pytest


@pytest.fixture(scope="session")
def crop_file(tmp_path_factory):
    """Crops for a training of a few steps."""
    from training_example import write_crop_file

    return write_crop_file(tmp_path_factory.mktemp("crops") / "0.h5sc")
