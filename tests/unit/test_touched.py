"""A change is tested by the tests of what it touches, and by no others."""

import pytest
from touched import touched

LIBRARY = "workflow/scripts/subcell"


@pytest.mark.parametrize(
    ("file", "tests", "others"),
    [
        (
            f"{LIBRARY}/atlas/clusters/leiden.py",
            {"test_atlas.py", "test_atlas_levels.py"},
            {"test_camera.py", "test_config.py"},
        ),
        (f"{LIBRARY}/config/document.py", {"test_config.py"}, {"test_atlas.py", "test_model_network.py"}),
        (f"{LIBRARY}/embedding/store.py", {"test_benchmarks_hierarchy.py", "test_embedding.py"}, {"test_imaging.py"}),
        ("tests/unit/benchmark_example.py", {"test_benchmarks_own.py"}, {"test_atlas.py", "test_store.py"}),
        ("tests/unit/test_camera.py", {"test_camera.py"}, {"test_flat_field.py"}),
        ("envs/map.yaml", {"test_envs.py"}, {"test_camera.py"}),
        ("docs/benchmarks.md", {"test_benchmarks_own.py"}, {"test_camera.py"}),
    ],
)
def test_what_a_change_touches(file, tests, others):
    chosen = {path.name for path in touched([file])}
    assert tests <= chosen
    assert not others & chosen


def test_no_change_touches_nothing():
    assert touched([]) == []
