import pytest

MARKERS_OF_OTHERS = (
    "accelerate_tests",
    "bitsandbytes",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "flash_attn_test",
    "order",
    "slow",
    "torch_compile_test",
)


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers that other projects' tests bear."""
    for name in MARKERS_OF_OTHERS:
        config.addinivalue_line("markers", f"{name}: of another project's tests")
