import subprocess
import sys

import torch

from tutelage.train.compute import measure


def test_the_type_is_the_one_that_multiplied_faster_here() -> None:
    found = measure(0.1)
    assert found.gflops > 0
    assert found.threads >= 1
    assert found.dtype in ((torch.bfloat16,) if found.device.type == "cuda" else (torch.float32, torch.bfloat16))


def test_bf16_is_taken_only_where_it_is_clearly_faster(monkeypatch: object) -> None:
    from tutelage.train import compute

    for speeds, expected in (((100.0, 3.0), torch.float32), ((130.0, 360.0), torch.bfloat16)):
        by_type = dict(zip((torch.float32, torch.bfloat16), speeds, strict=True))
        monkeypatch.setattr(compute, "_gflops", lambda device, dtype, seconds, size=0, by_type=by_type: by_type[dtype])  # type: ignore[attr-defined]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # type: ignore[attr-defined]
        assert measure(0.1).dtype == expected


def test_a_type_that_is_named_is_taken() -> None:
    assert measure(0.05, dtype="bf16").dtype == torch.bfloat16
    assert measure(0.05, dtype="fp32").dtype == torch.float32


def test_what_the_parent_held_is_no_part_of_the_peak() -> None:
    held = bytearray(b"1") * (800 << 20)
    program = "from tutelage.train.compute import peak_rss; print(peak_rss())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 50 << 20 < int(ended.stdout) < len(held)
