"""Setting removed weights to zero."""

import pytest
import torch

from fedprllm_secure.pruners.pruned import zero_removed

VALUES = [1.5, -2.0, 0.0, -0.0, torch.inf, -torch.inf, 1e-3, -7.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_removed_are_plus_zero_and_kept_keep_every_bit(dtype, transposed):
    """Whatever the number was; also in a view whose memory runs the other way."""
    weight = torch.tensor([VALUES, VALUES], dtype=dtype)
    prune_mask = torch.tensor([[True] * 8, [False, True] * 4])
    if transposed:
        weight, prune_mask = weight.t().contiguous().t(), prune_mask.t().contiguous().t()
    found = zero_removed(weight, prune_mask)

    assert torch.equal(found, weight.masked_fill(prune_mask, 0))
    assert not torch.signbit(found[prune_mask]).any()
    assert torch.equal(torch.signbit(found[~prune_mask]), torch.signbit(weight[~prune_mask]))


def test_the_weight_itself_is_not_changed():
    """The dense weights serve the next client."""
    weight = torch.ones(2, 3)
    zero_removed(weight, torch.ones(2, 3, dtype=torch.bool))

    assert weight.sum() == 6
