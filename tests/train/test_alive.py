import torch
from torch import nn

from tutelage.train.alive import Alive

KB = 1_000


def test_tensors_count_as_long_as_something_holds_them() -> None:
    layer = nn.Linear(10, 25, bias=False, device="meta")  # 1 kB
    with Alive(layer.parameters()) as alive:
        assert alive.now == KB
        given = torch.empty(100, 10, device="meta")  # 4 kB
        out = layer(given)  # 10 kB
        loss = out.relu().sum()  # 10 kB that autograd keeps; views and the sum's few bytes aside
        del out
        assert 15 * KB <= alive.now < 16 * KB
        loss.backward()
        assert 6 * KB <= alive.now < 7 * KB  # the weight, its gradient, what was given
    assert alive.peak > 25 * KB


def test_a_view_counts_once_and_real_tensors_not_at_all() -> None:
    with Alive() as alive:
        whole = torch.empty(250, device="meta")
        parts = whole.view(5, 50)[2:], whole[3:]
        torch.empty(250)
        assert alive.now == KB
        del whole
        assert alive.now == KB
        del parts
        assert alive.now == 0
