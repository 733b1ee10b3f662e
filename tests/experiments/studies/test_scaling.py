"""The study of scaling: each variant is what it says, and the answer follows from the numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from experiments.studies import scaling
from experiments.studies.measured import Value, Values
from experiments.studies.scaling_answer import DENSE, KEPT, MEAN, PRUNED, RESTORED, SCALED, SHRUNK, answer


@pytest.fixture(scope="module")
def measured(draw):
    """Everything measured of one draw."""
    return Values(scaling.measure(draw))


def weights(draw, variant, name):
    """A matrix's weights in a variant."""
    return scaling._weights(draw, variant, name, draw.outputs.weights[name], scaling._shrinkage(draw, name))


def test_scaled_weights_are_the_mean_of_clients_pruned_models(draw):
    """A weight that v of m clients would remove keeps (m - v) / m; without the server's mask it is their mean model."""
    for name, weight in draw.outputs.weights.items():
        by_hand = weight * (1 - draw.votes[name].float() / 3)
        torch.testing.assert_close(weights(draw, MEAN, name), by_hand)
        torch.testing.assert_close(weights(draw, SCALED, name), by_hand * ~draw.prune_masks[name])
        assert torch.equal(weights(draw, KEPT, name), weight * ~draw.prune_masks[name])


def test_one_factor_a_matrix_restores_the_size_or_shrinks_to_it(draw, measured):
    """On the clients' windows; the direction of the weights stays."""
    for name in draw.outputs.weights:
        size = {variant: measured.of("size", variant, name)[0] for variant in PRUNED}
        assert size[SCALED] < size[KEPT]
        assert size[RESTORED] == pytest.approx(size[KEPT], rel=1e-4)
        assert size[SHRUNK] == pytest.approx(size[SCALED], rel=1e-4)
        for one, other in ((RESTORED, SCALED), (SHRUNK, KEPT)):
            cosine = torch.cosine_similarity(
                weights(draw, one, name).flatten(), weights(draw, other, name).flatten(), 0
            )
            assert float(cosine) == pytest.approx(1, abs=1e-5)


def test_kept_weights_are_counted_by_the_votes_against_them(draw, measured):
    """Against a count by hand: shares, magnitudes, energy, and what scaling takes of it."""
    stays = torch.cat([~draw.prune_masks[name].flatten() for name in draw.votes])
    votes = torch.cat([draw.votes[name].flatten() for name in draw.votes])
    for count in range(4):
        place = f"{count} votes"
        here = int((stays & (votes == count)).sum())
        assert measured.of("weights", KEPT, place) == [pytest.approx(here / int(stays.sum()))]
        energy = measured.of("energy", KEPT, place)[0]
        assert measured.of("energy lost", KEPT, place)[0] == pytest.approx(energy * (1 - (1 - count / 3) ** 2))
    assert sum(measured.of("energy", KEPT, f"{count} votes")[0] for count in range(4)) == pytest.approx(1, abs=1e-5)


def test_perplexity_is_of_each_variant_and_of_the_unpruned_model(measured):
    """Six models, all different."""
    found = [measured.of("perplexity", variant)[0] for variant in (DENSE, *PRUNED)]

    assert len(set(found)) == len(found)


def test_table_picture_and_conclusions_are_written(setting, tmp_path, capsys):
    """A line of JSON and of CSV for each value, and every sentence printed and in the Markdown."""
    asked = asdict(replace(setting, seeds=(0, 1)))
    values = scaling.run(out=tmp_path, **asked)

    lines = (tmp_path / "scaling.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(value) for value in values]
    assert len((tmp_path / "scaling.csv").read_text().splitlines()) == len(lines) + 1
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "scaling.svg").read_text()
    printed, written = capsys.readouterr().out, (tmp_path / "scaling.md").read_text()
    conclusions = json.loads((tmp_path / "conclusions.json").read_text())
    assert conclusions["study"] == "scaling"
    for conclusion in conclusions["conclusions"]:
        assert conclusion["text"] in printed
        assert f"- {conclusion['text']}" in written


def answer_of(perplexities: dict[str, float]) -> str:
    """The answer's last sentence where two draws have these perplexities, a little apart."""
    places = ("0 votes", "1 votes")
    found = []
    for seed, more in ((0, 0.0), (1, 0.01)):
        for variant, value in (perplexities | {"dense": 20.0, MEAN: 30.0}).items():
            named = [("perplexity", "model"), ("size", "model"), ("error", "model")]
            named += [("added", "block 0"), ("stream", "block 0")]
            found += [
                Value(seed=seed, variant=variant, measure=name, place=place, value=value + more)
                for name, place in named
            ]
        for name in ("weights", "factor", "magnitude", "energy", "energy lost"):
            found += [Value(seed=seed, variant=KEPT, measure=name, place=place, value=0.5) for place in places]
    return answer(Values(found), "").sentences[-1].text


def test_the_verdict_follows_from_what_restoring_and_shrinking_do():
    """Shrinkage explains a loss if and only if it makes it alone and restoring the size takes it away."""
    assert "smaller outputs explain it" in answer_of({KEPT: 30, SCALED: 40, RESTORED: 30.5, SHRUNK: 39.5})
    assert "smaller outputs do not explain it" in answer_of({KEPT: 30, SCALED: 40, RESTORED: 40.5, SHRUNK: 30.1})
    assert "explains it alone, as far as these draws tell" in answer_of(
        {KEPT: 30, SCALED: 40, RESTORED: 35, SHRUNK: 35}
    )
    assert "no share of a loss is given" in answer_of({KEPT: 30, SCALED: 30, RESTORED: 30, SHRUNK: 30})
