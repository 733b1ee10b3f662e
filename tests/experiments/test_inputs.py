"""Which text each flag names, and what becomes of it."""

from __future__ import annotations

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from experiments import inputs as places
from experiments.cli import make_parser
from experiments.demo.corpus import Module
from fedprllm_secure.data import DataError, Document, Partition, cut_windows, read_documents, split_documents
from fedprllm_secure.models.streamed import StreamedModel

WORDS = {"public": "beta", "private": "alpha", "evaluation": "gamma"}


@pytest.fixture(scope="module")
def model(inputs) -> StreamedModel:
    """The tiny model."""
    return StreamedModel(inputs.model, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def tokenizer(inputs):
    """Its tokenizer."""
    return AutoTokenizer.from_pretrained(inputs.model)


@pytest.fixture
def parsed(inputs, tmp_path):
    """Read flags of ``prune``: ``parsed(flag=value)``."""
    return lambda **changed: make_parser().parse_args(inputs.arguments(tmp_path / "run", **changed))


@pytest.fixture
def tiny_demo(monkeypatch):
    """A demo text of one module a side, each of one word."""
    modules = [
        Module(path=f"{name}.py", package=name, split=split, text=f"{name} " * 200) for split, name in WORDS.items()
    ]
    monkeypatch.setattr(places, "load_modules", lambda: tuple(modules))


def words_of(ids: torch.Tensor, tokenizer) -> set[str]:
    """Decode windows and list their words, but for those that a window's ends cut."""
    return {word for row in ids.tolist() for word in tokenizer.decode(row, skip_special_tokens=True).split()[1:-1]}


def test_each_role_has_its_own_side_of_the_demo(parsed, model, tokenizer, tiny_demo):
    """Clients hold private text, the public baseline public text, and perplexity is measured on neither."""
    flags = parsed(data="demo", public_data=None, eval_data=None, clients=1)

    assert words_of(places.client_windows(flags, model, 16, []).ids, tokenizer) == {"alpha"}
    assert words_of(places.public_windows(flags, model, 16, 2), tokenizer) == {"beta"}
    assert words_of(places.evaluation_windows(flags, model, 16)[0], tokenizer) == {"gamma"}


def test_demo_may_be_named_for_one_role_alone(parsed, model, tokenizer, tiny_demo):
    """Named beside a file, the demo still gives each role its own side."""
    flags = parsed(public_data="demo", eval_data="demo")

    assert words_of(places.public_windows(flags, model, 16, 2), tokenizer) == {"beta"}
    assert words_of(places.evaluation_windows(flags, model, 16)[0], tokenizer) == {"gamma"}


def test_the_demo_model_is_evaluated_on_its_own_text(model, tokenizer, tiny_demo):
    """``evaluate --model demo`` needs no text; another model has no default."""
    flags = Namespace(model="demo", eval_data=None, eval_windows=2)

    assert words_of(places.evaluation_windows(flags, model, 16)[0], tokenizer) == {"gamma"}
    assert places.evaluation_windows(Namespace(model="other", eval_data=None, eval_windows=2), model, 16) is None


def test_a_file_has_no_default_texts(parsed, model):
    """Clients' own text is neither public nor for perplexity unless someone says so."""
    flags = parsed(public_data=None, eval_data=None)

    assert places.public_windows(flags, model, 16, 2) is None
    assert places.evaluation_windows(flags, model, 16) is None


@pytest.mark.parametrize("corpus", ["wikitext2", "c4", "ptb"])
def test_a_corpus_is_evaluated_on_its_test_split(parsed, model, monkeypatch, corpus):
    """A known corpus brings its own text for perplexity, from the split that no client holds."""
    asked = []

    def read(source, *, split, **fields):
        asked.append((source, split))
        return iter([Document("the server adds votes " * 40)])

    monkeypatch.setattr(places, "read_documents", read)
    places.evaluation_windows(parsed(data=corpus, eval_data=None), model, 16)
    places.client_windows(parsed(data=corpus, clients=1), model, 16, [])

    assert asked == [(corpus, "test"), (corpus, "train")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_split_follows_the_seed(parsed, inputs, model, tokenizer, seed):
    """Another seed deals the text otherwise, and each as the partition of that seed does."""
    parts = split_documents(read_documents(inputs.text, split="train"), Partition("iid"), num_clients=3, seed=seed)
    expected = cut_windows(parts, tokenizer, length=16, per_client=2, vocabulary_size=300).ids
    found = {n: places.client_windows(parsed(seed=n), model, 16, []).ids for n in range(3)}

    assert torch.equal(found[seed], expected)
    assert not any(torch.equal(found[seed], found[other]) for other in found if other != seed)


@pytest.mark.parametrize("limit", [1, 4])
def test_no_more_evaluation_windows_than_asked_for(parsed, inputs, model, tokenizer, limit):
    """The first windows of a text are taken, or of windows already cut."""
    tokens = tokenizer(inputs.eval_text.read_text())["input_ids"]
    cut = inputs.folder / "windows.safetensors"
    of_text, _ = places.evaluation_windows(parsed(eval_windows=limit), model, 16)
    of_file, covered = places.evaluation_windows(parsed(eval_windows=limit, eval_data=cut), model, 16)

    assert of_text.flatten().tolist() == tokens[: 16 * limit]
    assert of_file.shape == (limit, 16)
    assert covered is None


@pytest.mark.parametrize("length", [2, 16])
def test_covered_bytes_are_those_of_the_predicted_tokens(parsed, inputs, model, tokenizer, length):
    """Every token but the first of each window stands for its own bytes, of text that has one byte a character."""
    tokens = tokenizer(inputs.eval_text.read_text())["input_ids"][: 6 * length]
    predicted = [token for position, token in enumerate(tokens) if position % length]
    _, covered = places.evaluation_windows(parsed(eval_windows=6), model, length)

    assert covered == sum(len(tokenizer.decode([token])) for token in predicted)


def test_result_counts_the_bytes_that_perplexity_covers(prune, inputs, tokenizer, tmp_path):
    """result.json and its bits per byte rest on that count."""
    tokens = tokenizer(inputs.eval_text.read_text())["input_ids"][: 6 * 16]
    covered = sum(len(tokenizer.decode([token])) for position, token in enumerate(tokens) if position % 16)
    found = json.loads(prune(tmp_path / "run", baselines="").stdout)["perplexity"]

    assert found["covered_bytes"] == covered


@pytest.mark.parametrize(
    ("asked", "name", "context", "length"),
    [
        (None, "other", 4096, 2048),
        (None, "other", 2048, 2048),
        (None, "other", 64, 64),
        (None, "other", None, 2048),
        (None, "demo", 512, 256),
        (3000, "other", 4096, 3000),
        (100, "demo", 512, 100),
    ],
)
def test_window_length_by_default(asked, name, context, length):
    """2048 tokens, or the model's context if that is shorter, or 256 for the demo; as asked otherwise."""
    flags = Namespace(window_length=asked, model=name, data="private.txt")

    assert places.window_length(flags, SimpleNamespace(context_length=context)) == length


def test_window_length_is_that_of_windows_already_cut(inputs):
    """They come in one length only."""
    flags = Namespace(window_length=None, model="demo", data=str(inputs.folder / "windows.safetensors"))

    assert places.window_length(flags, SimpleNamespace(context_length=512)) == 16


@pytest.fixture
def two_columns(tmp_path):
    """A file of rows with two columns of text, one word in each."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": "left " * 20, "body": "right " * 20}) + "\n" for _ in range(30)))
    return file


@pytest.mark.parametrize(("field", "word"), [(None, "left"), ("text", "left"), ("body", "right")])
def test_the_column_named_is_read(parsed, model, tokenizer, two_columns, field, word):
    """--text-field chooses the column, for every role."""
    flags = parsed(data=two_columns, public_data=two_columns, eval_data=two_columns, text_field=field)

    assert words_of(places.client_windows(flags, model, 16, []).ids, tokenizer) == {word}
    assert words_of(places.public_windows(flags, model, 16, 2), tokenizer) == {word}
    assert words_of(places.evaluation_windows(flags, model, 16)[0], tokenizer) == {word}


def test_a_column_that_is_not_there_is_refused(parsed, model, two_columns):
    """The message names the column that was asked for."""
    with pytest.raises(DataError, match="no field 'title'"):
        places.client_windows(parsed(data=two_columns, text_field="title"), model, 16, [])
