"""How far edited models go from the unpruned one: outputs of blocks, and of matrices."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from experiments.bench.block_outputs import block_outputs
from experiments.bench.output_error import OutputError
from fedprllm_secure.evaluation import dense
from fedprllm_secure.models.streamed import StreamedModel

IDS = torch.randint(2, 300, (3, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(inputs):
    """The tiny model, opened."""
    return StreamedModel(inputs.model, device=torch.device("cpu"))


def test_blocks_of_an_edited_model_against_the_same_model_in_memory(inputs, model):
    """Every block on what its own model's blocks before it put out."""
    found = block_outputs(model, IDS, {"dense": dense, "half": lambda _, __, weight: weight / 2})
    states = {}
    for name, factor in (("dense", 1.0), ("half", 0.5)):
        network = AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
        for layer in network.model.layers:
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.data *= factor
        outputs = []
        for layer in network.model.layers:
            layer.register_forward_hook(lambda _, args, out, kept=outputs: kept.append((args[0], out)))
        with torch.no_grad():
            network(IDS)
        states[name] = [(before, out[0] if isinstance(out, tuple) else out) for before, out in outputs]

    for place, block in enumerate(found["half"]):
        (before, out), (before_there, there) = states["half"][place], states["dense"][place]
        assert block.added == pytest.approx(float((out - before).norm() / (there - before_there).norm()), rel=1e-4)
        assert block.size == pytest.approx(float(out.norm() / there.norm()), rel=1e-4)
        assert block.distance == pytest.approx(float((out - there).norm() / there.norm()), rel=1e-4)
    for block in found["dense"]:
        assert (block.added, block.size, block.distance) == (1, 1, 0)


def test_outputs_of_a_matrix_for_any_weights(inputs, model):
    """Against its inputs themselves, caught in the model in memory."""
    outputs = OutputError(model, IDS)
    network = AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
    caught = []
    name = "model.layers.1.mlp.down_proj"
    module = network.get_submodule(name)
    module.register_forward_pre_hook(lambda _, args: caught.append(args[0].reshape(-1, args[0].shape[-1])))
    with torch.no_grad():
        network(IDS)
    other = torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(1))
    size, unpruned = float((caught[0] @ other.T).norm()), float((caught[0] @ module.weight.detach().T).norm())

    assert outputs.size(name, other) == pytest.approx(size, rel=1e-4)
    assert outputs.relative(name, other) == pytest.approx(size / unpruned, rel=1e-4)
    torch.testing.assert_close(outputs.energy(name), caught[0].square().sum(0), rtol=1e-4, atol=1e-5)
    masks = {each: torch.ones_like(weight, dtype=torch.bool) for each, weight in outputs.weights.items()}
    assert outputs(masks) == pytest.approx(1)
