"""The built-in demo: its text, its model, and the recipe that trained it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from experiments.demo import DEMO_MODEL, corpus, train
from experiments.demo.corpus import Module, load_modules, near_duplicate_groups, split_of, texts_of

SPLITS = ("public", "private", "evaluation")
EXCLUDED = {"test", "tests", "idlelib", "tkinter", "lib2to3", "distutils", "ensurepip", "encodings", "pydoc_data"}
LIMIT_BYTES = 12 * 2**20


def words(start: int, count: int) -> str:
    """Write ``count`` words that no other start repeats."""
    return " ".join(f"word{number}" for number in range(start, start + count))


def test_splits_are_disjoint_and_complete():
    """Every module falls on exactly one side, and every side has text."""
    paths = [module.path for module in load_modules()]
    by_split = {name: {m.path for m in load_modules() if m.split == name} for name in SPLITS}

    assert len(paths) == len(set(paths))
    assert set().union(*by_split.values()) == set(paths)
    assert sum(len(found) for found in by_split.values()) == len(paths)
    assert all(len(found) > 20 for found in by_split.values())


def test_no_text_stands_on_two_sides():
    """No source text appears in two splits."""
    texts = {name: {text for text in texts_of(name) if text.strip()} for name in SPLITS}

    assert not texts["public"] & texts["private"]
    assert not texts["public"] & texts["evaluation"]
    assert not texts["private"] & texts["evaluation"]


def test_shares_are_about_as_said():
    """About 60, 25 and 15 percent of hashed paths fall to public, private and evaluation."""
    found = [split_of(f"package/module{number}.py") for number in range(4000)]

    assert found.count("public") / 4000 == pytest.approx(0.60, abs=0.03)
    assert found.count("private") / 4000 == pytest.approx(0.25, abs=0.03)
    assert found.count("evaluation") / 4000 == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize(
    ("path", "split"),
    [("asyncio/tasks.py", "public"), ("json/encoder.py", "public"), ("ast.py", "evaluation"), ("typing.py", "private")],
)
def test_split_of_a_path_never_changes(path, split):
    """The split of a path is fixed for every machine and version: the shipped model was trained on it."""
    assert split_of(path) == split


def test_excluded_folders_are_absent():
    """Tests, IDLE, generated tables and installed packages are not in the text."""
    folders = {part for module in load_modules() for part in module.path.split("/")[:-1]}

    assert not folders & (EXCLUDED | {"site-packages", "__pycache__"})


def test_package_is_the_first_folder():
    """A module's package is its first folder, or its own name at the top."""
    by_path = {module.path: module.package for module in load_modules()}

    assert by_path["json/decoder.py"] == "json"
    assert by_path["argparse.py"] == "argparse"


def test_modules_come_in_the_same_order():
    """Modules come in path order, forward slashes throughout."""
    first = load_modules()

    assert [m.path for m in first] == [p.as_posix() for p in sorted(Path(m.path) for m in first)]
    assert not any("\\" in module.path for module in first)


def library(folder: Path, texts: dict[str, str]) -> None:
    """Write a library of source files."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_planted_near_duplicates_fall_on_one_side(tmp_path, monkeypatch):
    """A file that shares its text with another takes the other's side, and excluded folders are not read."""
    paths = [f"pair{n}/{name}.py" for n in range(20) for name in ("first", "second")]
    texts = {path: words(1000 * (n // 2), 200) + (" tail" if n % 2 else "") for n, path in enumerate(paths)}
    library(tmp_path, {**texts, **{f"{name}/mod.py": "x = 1\n" for name in EXCLUDED}, "a/test/deep.py": "x = 2\n"})
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda _: str(tmp_path))
    load_modules.cache_clear()
    try:
        side = {module.path: module.split for module in load_modules()}
        load_modules.cache_clear()
        assert {module.path: module.split for module in load_modules()} == side
    finally:
        load_modules.cache_clear()

    assert sorted(side) == sorted(texts)
    assert all(side[f"pair{n}/first.py"] == side[f"pair{n}/second.py"] for n in range(20))
    assert any(split_of(f"pair{n}/first.py") != split_of(f"pair{n}/second.py") for n in range(20))
    assert len(set(side.values())) == 3


def test_library_without_sources_is_refused(tmp_path, monkeypatch):
    """An interpreter without library sources is named, with what would do."""
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda _: str(tmp_path))
    load_modules.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match=r"no \.py files below .*give --data a file"):
            load_modules()
    finally:
        load_modules.cache_clear()


def test_near_duplicates_are_grouped_transitively():
    """Groups are connected components led by the first path; a quarter of the smaller file's runs is enough."""
    texts = {
        "a": words(0, 100),
        "b": words(50, 100),
        "c": words(100, 100),
        "d": words(500, 100),
    }

    assert near_duplicate_groups(texts) == {"a": "a", "b": "a", "c": "a", "d": "d"}


@pytest.mark.parametrize(("shared", "together"), [(35, True), (30, False)])
def test_share_that_makes_a_near_duplicate(shared, together):
    """Two files of 100 words (89 runs) are near-duplicates from 23 shared runs on."""
    found = near_duplicate_groups(
        {"a": words(0, 100), "b": words(100 - shared, shared) + " " + words(900, 100 - shared)}
    )

    assert (found["b"] == "a") == together


def test_groups_are_those_of_a_count_by_hand():
    """Of texts of few words, with runs in common everywhere: shared runs counted one by one."""
    generator = np.random.default_rng(0)
    for _ in range(30):
        pool = [[str(word) for word in generator.integers(3, size=generator.integers(5, 30))] for _ in range(5)]
        texts = {
            name: " ".join(word for piece in generator.integers(5, size=generator.integers(4)) for word in pool[piece])
            for name in "abcdefg"
        }
        runs = {
            name: {tuple(w[at : at + 12]) for at in range(len(w) - 11)}
            for name, t in texts.items()
            for w in [t.split()]
        }
        telling = {run for own in runs.values() for run in own if sum(run in each for each in runs.values()) < 5}
        expected = {name: name for name in texts}
        for one, other in combinations(texts, 2):
            count = len(runs[one] & runs[other] & telling)
            if count and count >= 0.25 * min(len(runs[one]), len(runs[other])):
                low, high = sorted((expected[one], expected[other]))
                expected = {name: low if leader == high else leader for name, leader in expected.items()}

        assert near_duplicate_groups(texts) == expected


@pytest.mark.parametrize("texts", [{}, {"a": ""}, {"a": "", "b": words(0, 11)}], ids=["none", "empty", "short"])
def test_texts_without_a_run_stand_alone(texts):
    """There is nothing that they could share."""
    assert near_duplicate_groups(texts) == {name: name for name in texts}


def test_boilerplate_makes_no_near_duplicates():
    """Text that five files or more share, such as a licence, joins none of them."""
    licence = words(5000, 60)
    texts = {name: f"{licence} {words(100 * n, 60)}" for n, name in enumerate("abcde")}

    assert near_duplicate_groups(texts) == {name: name for name in "abcde"}


def test_shipped_model_is_small():
    """Everything shipped with the demo model takes at most 12 MiB."""
    assert sum(file.stat().st_size for file in DEMO_MODEL.iterdir()) <= LIMIT_BYTES


def test_shipped_model_loads_and_predicts():
    """The demo model is a LLaMA in bf16 that loads plainly and gives finite logits."""
    model = AutoModelForCausalLM.from_pretrained(DEMO_MODEL, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    ids = torch.tensor([tokenizer("def main():\n    return 0\n")["input_ids"]])
    with torch.no_grad():
        logits = model.float()(input_ids=ids).logits

    assert json.loads((DEMO_MODEL / "config.json").read_text())["model_type"] == "llama"
    assert model.config.dtype in (torch.bfloat16, "bfloat16")
    assert bool(logits.isfinite().all())
    assert len(tokenizer) <= model.config.vocab_size


def test_shipped_model_is_trained():
    """The demo model predicts Python text far better than chance."""
    model = AutoModelForCausalLM.from_pretrained(DEMO_MODEL, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    ids = torch.tensor([tokenizer(texts_of("evaluation")[0])["input_ids"][:128]])
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids).loss)

    assert loss < 0.75 * torch.tensor(float(model.config.vocab_size)).log()


def test_shipped_model_has_a_card():
    """A model card lies beside the demo model."""
    assert (DEMO_MODEL / "README.md").read_text().strip()


@pytest.fixture(scope="module")
def demo_tokenizer():
    """The demo model's tokenizer."""
    return AutoTokenizer.from_pretrained(DEMO_MODEL)


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tokenizer_gives_any_text_back(demo_tokenizer, text):
    """Encoding and decoding returns every text unchanged."""
    ids = demo_tokenizer(text, add_special_tokens=False)["input_ids"]

    assert demo_tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_tokenizer_is_of_bytes(demo_tokenizer):
    """Every byte has a token, and text that looks like code is shorter in tokens than in bytes."""
    source = texts_of("evaluation")[1]

    assert len(demo_tokenizer(source)["input_ids"]) < len(source.encode()) / 2


@pytest.fixture
def small(monkeypatch):
    """A recipe of tiny batches."""
    monkeypatch.setattr(train, "CONTEXT_LENGTH", 8)
    monkeypatch.setattr(train, "BATCH_WINDOWS", 3)


def test_epoch_covers_the_stream_once(small):
    """An epoch's batches are distinct consecutive windows that cover the stream but for its ends."""
    stream = torch.arange(8 * 3 * 5 + 8)
    seen = torch.cat([train.batch_of(stream, step, seed=0).flatten() for step in range(5)]).sort().values

    assert len(seen) == 120
    assert torch.equal(seen, torch.arange(int(seen[0]), int(seen[0]) + 120))


def test_epochs_differ_in_offset_and_order(small):
    """The next epoch has another order, and epochs start at several offsets."""
    stream = torch.arange(8 * 3 * 5 + 8)
    epochs = [[train.batch_of(stream, 5 * n + step, seed=0) for step in range(5)] for n in range(8)]

    assert not torch.equal(epochs[0][0], epochs[1][0])
    assert len({int(torch.cat(epoch).min()) for epoch in epochs}) > 1


def test_batch_is_a_function_of_seed_and_step(small):
    """A batch depends on seed and step alone, not on what was drawn before."""
    stream = torch.arange(500)
    first = train.batch_of(stream, 7, seed=3)
    torch.manual_seed(99)
    torch.rand(10)
    train.batch_of(stream, 2, seed=3)

    assert first.shape == (3, 8)
    assert torch.equal(train.batch_of(stream, 7, seed=3), first)
    assert not torch.equal(train.batch_of(stream, 7, seed=4), first)
    assert not torch.equal(train.batch_of(stream, 8, seed=3), first)


def test_rate_warms_up_stays_and_decays():
    """The rate rises linearly to 1, stays, and falls linearly to its last positive value."""
    warm, decay = train.WARM_UP_STEPS, int(900 * train.DECAY_SHARE)
    rates = [train.rate_at(step, 900) for step in range(900)]

    assert rates[:warm] == pytest.approx([(step + 1) / warm for step in range(warm)])
    assert set(rates[warm : 900 - decay + 1]) == {1.0}
    assert rates[900 - decay :] == pytest.approx([(decay - step) / decay for step in range(decay)])


def test_steps_may_change_while_the_rate_is_constant():
    """Up to the decay the rate does not depend on the number of steps."""
    assert [train.rate_at(step, 900) for step in range(200)] == [train.rate_at(step, 2000) for step in range(200)]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_rate_of_a_very_short_training(steps):
    """Even a training of one step has a rate above 0 and at most 1."""
    assert all(0 < train.rate_at(step, steps) <= 1 for step in range(steps))


def test_trained_tokenizer_gives_text_back(monkeypatch):
    """The recipe's tokenizer, trained on little, returns any text unchanged and has the vocabulary asked for."""
    monkeypatch.setattr(train, "VOCABULARY_SIZE", 300)
    tokenizer = train.train_tokenizer([words(0, 200)])
    text = "def  f(x):\n\t\treturn 'ü漢🙂'  # 12345\r\n\n"

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == 300


def test_stream_ends_every_text(monkeypatch):
    """Texts are joined with the end-of-text token after each."""
    monkeypatch.setattr(train, "VOCABULARY_SIZE", 300)
    tokenizer = train.train_tokenizer([words(0, 200)])
    end = tokenizer.convert_tokens_to_ids(train.END_OF_TEXT)
    stream = train.token_stream(tokenizer, ["a", "bc"])

    assert stream.dtype == torch.int64
    assert tokenizer.decode(stream) == f"a{train.END_OF_TEXT}bc{train.END_OF_TEXT}"
    assert int((stream == end).sum()) == 2


def test_held_out_share_is_a_twentieth():
    """About a twentieth of modules is held out, by path."""
    modules = [Module(path=f"m{n}.py", package="m", split="public", text="") for n in range(2000)]

    assert sum(map(train.is_held_out, modules)) / 2000 == pytest.approx(13 / 256, abs=0.015)


def test_interrupted_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """Training that was stopped between checkpoints gives, run again, the weights of an uninterrupted one."""
    for name, value in {
        "VOCABULARY_SIZE": 300,
        "CONTEXT_LENGTH": 16,
        "BATCH_WINDOWS": 2,
        "CHECKPOINT_STEPS": 2,
    }.items():
        monkeypatch.setattr(train, name, value)
    modules = [Module(path=f"m{n}.py", package="m", split="public", text=words(100 * n, 100)) for n in range(40)]
    modules.append(Module(path="p.py", package="p", split="private", text="secret"))
    assert any(map(train.is_held_out, modules))
    monkeypatch.setattr(train, "load_modules", lambda: tuple(modules))
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=300, tie_word_embeddings=True, use_cache=False, **shape)
    monkeypatch.setattr(train, "make_model", lambda seed: (torch.manual_seed(seed), LlamaForCausalLM(config))[1])
    asked = {"steps": 5, "seed": 1, "device": torch.device("cpu"), "compiled": False}
    expected = train.train(tmp_path / "whole", **asked).state_dict()
    original = train.rate_at

    def stop(step, steps):
        if step == 3:
            raise KeyboardInterrupt
        return original(step, steps)

    with monkeypatch.context() as patch:
        patch.setattr(train, "rate_at", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(tmp_path / "parts", **asked)
    found = train.train(tmp_path / "parts", **asked).state_dict()

    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not list((tmp_path / "parts").glob("*.tmp"))
