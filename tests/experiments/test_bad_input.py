"""Bad input ends with status 2 and one line that says what is wrong; nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.cli import main
from fedprllm_secure.federation import Federation
from fedprllm_secure.models.checkpoint import TensorWriter
from fedprllm_secure.work import WorkFolder


def assert_refused(ran, pattern: str, *, out: Path | None = None) -> None:
    """Check for status 2, one line on stderr that matches, no stdout, and no result."""
    assert ran.status == 2, ran
    assert re.search(pattern, ran.line), ran.line
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    if out is not None and out.is_dir():
        assert leftovers(out) == []


def leftovers(out: Path) -> list[str]:
    """List what must not stay after a failed run: results, and anything half-written outside the resume state."""
    names = [str(path.relative_to(out)) for path in out.rglob("*")]
    return [
        name
        for name in names
        if name in ("result.json", "error.log") or (name.endswith(".partial") and not name.startswith("work/"))
    ]


def copy_of_model(inputs, folder: Path) -> Path:
    """Copy the tiny model to a place where it may be spoiled."""
    shutil.copytree(inputs.model, folder)
    return folder


CHANGED_FLAGS = {
    "model path": ({"model": "/nowhere/model"}, r"--model /nowhere/model: there is no such folder"),
    "relative model path": ({"model": "./nowhere"}, r"--model \./nowhere: there is no such folder"),
    "data path": ({"data": "/nowhere/text.txt"}, r"no file, folder or hub data set '/nowhere/text.txt'"),
    "empty data name": ({"data": ""}, r"no file, folder or hub data set ''"),
    "evaluation path": ({"eval_data": "/nowhere/text.txt"}, r"no file.*'/nowhere/text.txt'"),
    "public path": ({"public_data": "/nowhere/text.txt"}, r"no file.*'/nowhere/text.txt'"),
    "windows path": ({"data": "/nowhere/w.safetensors"}, r"no file of windows at /nowhere/w.safetensors"),
    "sparsity 0": ({"sparsity": "0"}, r"sparsity=0 must be above 0 and below 1"),
    "sparsity 1": ({"sparsity": "1"}, r"sparsity=1 must be above 0 and below 1"),
    "sparsity 1.5": ({"sparsity": "1.5"}, r"sparsity=1\.5 must be above 0 and below 1"),
    "sparsity -0.1": ({"sparsity": "-0.1"}, r"sparsity=-0\.1 must be above 0 and below 1"),
    "sparsity abc": ({"sparsity": "abc"}, r"sparsity=abc must be a fraction such as 0\.5 or a pattern such as 2:4"),
    "sparsity nan": ({"sparsity": "nan"}, r"sparsity=nan must be a fraction"),
    "sparsity inf": ({"sparsity": "inf"}, r"sparsity=inf must be a fraction"),
    "sparsity empty": ({"sparsity": ""}, r"sparsity= must be a fraction"),
    "sparsity 4:4": ({"sparsity": "4:4"}, r"sparsity=4:4 must keep N of M"),
    "sparsity 0:4": ({"sparsity": "0:4"}, r"sparsity=0:4 must keep N of M"),
    "pattern does not divide": ({"sparsity": "2:5"}, r"sparsity=2:5: 5 does not divide the 32 inputs of model\.layers"),
    "window too long": ({"window_length": 65}, r"--window-length 65 must be from 2 to the model's context of 64"),
    "window too short": ({"window_length": 1}, r"--window-length 1 must be from 2"),
    "global one-shot": ({"propagate": "global"}, r"propagate=global does not go with schedule=one-shot"),
    "local iterative": ({"schedule": "iterative", "propagate": "local"}, r"propagate=local does not go with"),
    "pattern with a group": ({"sparsity": "2:4", "group": "row"}, r"--group"),
    "partition word": ({"partition": "random"}, r"--partition: .*'random' must be iid, natural or dirichlet:ALPHA"),
    "dirichlet:-1": ({"partition": "dirichlet:-1"}, r"--partition: alpha=-1\.0 .* must be a finite number above 0"),
    "dirichlet:0": ({"partition": "dirichlet:0"}, r"--partition: alpha=0\.0"),
    "dirichlet:nan": ({"partition": "dirichlet:nan"}, r"--partition: alpha=nan"),
    "dirichlet without alpha": ({"partition": "dirichlet"}, r"--partition: .*dirichlet:ALPHA"),
    "dirichlet without labels": ({"partition": "dirichlet:1"}, r"--label-field"),
    "natural without clients": ({"partition": "natural"}, r"--client-field, or a folder"),
    "field of plain text": ({"client_field": "who"}, r"is plain text and has no fields"),
    "too many clients": ({"clients": 100_000}, r"documents make \d+ pieces of text for 100000 clients"),
    "short for its windows": ({"windows_per_client": 500}, r"client \d has \d+ tokens and needs 8000"),
    "model digest": ({"model_sha256": "0" * 64}, r"--model-sha256 0+: the model's digest is [0-9a-f]{64}; this is not"),
    "negative seed": ({"seed": -1}, r"seed"),
    "negative seed with dropout": ({"seed": -1, "dropout": "0.1"}, r"seed"),
}


@pytest.mark.parametrize(("changed", "pattern"), CHANGED_FLAGS.values(), ids=CHANGED_FLAGS.keys())
def test_bad_value_is_refused(prune, tmp_path, changed, pattern):
    """A bad value exits 2 and says which."""
    out = tmp_path / "run"

    assert_refused(prune(out, **changed), pattern, out=out)


@pytest.mark.parametrize("shown", [True, None], ids=["json", "table"])
def test_refusal_is_one_line_with_and_without_progress_bars(prune, tmp_path, shown):
    """A value that is refused once the model is open still takes one line, whatever is shown on a good day."""
    assert_refused(prune(tmp_path / "run", sparsity="2:5", json=shown), "does not divide", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("flag", "known"),
    [
        ("pruner", "wanda"),
        ("group", "layer"),
        ("local_group", "column"),
        ("schedule", "one-shot"),
        ("propagate", "dense"),
        ("ties", "position"),
        ("payload", "votes"),
        ("protocol", "plain"),
        ("dtype", "bfloat16"),
        ("hidden_dtype", "float16"),
        ("device", "cuda"),
        ("baselines", "magnitude"),
    ],
)
def test_unknown_choice_lists_the_known_ones(prune, tmp_path, flag, known):
    """An unknown word for a choice exits 2, names the flag and lists what it takes."""
    out = tmp_path / "run"

    assert_refused(prune(out, **{flag: "nonsense"}), rf"--{flag.replace('_', '-')}.*nonsense.*{known}", out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("clients", "0", "at least 1"),
        ("clients", "-3", "at least 1"),
        ("clients", "two", "at least 1"),
        ("clients", "1.5", "at least 1"),
        ("windows_per_client", "0", "at least 1"),
        ("window_length", "0", "at least 1"),
        ("eval_windows", "0", "at least 1"),
        ("batch_windows", "0", "at least 1"),
        ("local_only_clients", "0", "at least 1"),
        ("hidden_memory", "lots", "500M or 4G"),
        ("hidden_memory", "-1", "500M or 4G"),
        ("seed", "x", "at least 0"),
        ("dropout", "1", r"rate in \[0, 1\)"),
        ("dropout", "-0.1", r"rate in \[0, 1\)"),
        ("dropout", "nan", r"rate in \[0, 1\)"),
        ("dropout", "0.1@lunch", "advertise, share, submit, confirm, reveal"),
    ],
)
def test_bad_number_is_refused(prune, tmp_path, flag, value, says):
    """A number that cannot be meant exits 2, names the flag and says what it takes."""
    assert_refused(prune(tmp_path / "run", **{flag: value}), rf"--{flag.replace('_', '-')}: .*{says}")


@pytest.mark.parametrize("flag", ["model", "data", "clients", "sparsity", "out"])
def test_required_flag_is_missed(cli, inputs, tmp_path, flag):
    """Leaving out a flag that has no default exits 2 and names it."""
    arguments = [word for word in inputs.arguments(tmp_path / "run") if not word.startswith(f"--{flag}=")]

    assert_refused(cli(*arguments), rf"required: --{flag} \(see fedprllm prune --help\)")


@pytest.mark.parametrize("arguments", [[], ["mow"], ["prune", "--no-such-flag"], ["bench", "nothing"]])
def test_bad_command_is_refused(cli, arguments):
    """A missing or unknown command, flag or benchmark exits 2 with one line."""
    assert_refused(cli(*arguments), "fedprllm")


@pytest.mark.parametrize("arguments", [["--help"], ["prune", "--help"], ["evaluate", "--help"]])
def test_help_exits_well(capsys, arguments):
    """--help prints and exits 0."""
    assert main(arguments) == 0
    assert "usage: fedprllm" in capsys.readouterr().out


TEXTS = {
    "empty": (b"", r"private.*holds no text"),
    "blank": (b" \n\n \n", r"holds no text"),
    "short": (b"a few words\n", r"client \d has \d+ tokens and needs 32|pieces of text for 3 clients"),
    "not utf-8": (b"caf\xe9 " * 400, r"is not UTF-8 at byte 3"),
}


@pytest.mark.parametrize(("content", "pattern"), TEXTS.values(), ids=TEXTS.keys())
def test_bad_text_is_refused(prune, tmp_path, content, pattern):
    """Empty, short or undecodable text exits 2 and names the file or the client."""
    file = tmp_path / "private.txt"
    file.write_bytes(content)

    assert_refused(prune(tmp_path / "run", data=file), pattern, out=tmp_path / "run")


def test_short_evaluation_text_is_refused(prune, tmp_path):
    """An evaluation text shorter than a window exits 2, before anything is pruned."""
    file = tmp_path / "evaluation.txt"
    file.write_text("one two\n")

    assert_refused(prune(tmp_path / "run", eval_data=file), r"the evaluation text has \d+ tokens and a window needs 16")
    assert not (tmp_path / "run").exists()


JSON_LINES = {
    "not json": ('{"text": "a"}\nnonsense\n', r"line 2 of .* is not JSON"),
    "no text field": ('{"body": 3}\n', r"no field 'text'.*--text-field"),
    "unknown client field": ('{"text": "a"}\n', r"no field 'who'; give --client-field"),
}


@pytest.mark.parametrize(("content", "pattern"), JSON_LINES.values(), ids=JSON_LINES.keys())
def test_bad_json_lines_are_refused(prune, tmp_path, content, pattern):
    """Broken JSON lines or a missing field exit 2 and name the line or the field."""
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    field = "who" if "who" in pattern else None

    assert_refused(prune(tmp_path / "run", data=file, client_field=field), pattern)


def test_fewer_natural_clients_than_asked_for(prune, inputs, tmp_path):
    """A folder of four files cannot serve five natural clients."""
    ran = prune(tmp_path / "run", data=inputs.folder / "natural", partition="natural", clients=5)

    assert_refused(ran, r"finds 4 clients and --clients asks for 5; lower --clients to 4")


def test_folder_without_text_is_refused(prune, tmp_path):
    """A folder without a .txt file exits 2."""
    (tmp_path / "texts").mkdir()

    assert_refused(prune(tmp_path / "run", data=tmp_path / "texts"), r"texts has no \.txt file")


def windows_cases() -> dict[str, tuple[dict[str, torch.Tensor], str]]:
    """Wrong files of windows, and what is said of each."""
    good = torch.full((6, 16), 5)
    return {
        "fewer windows than clients": (
            {"windows": good[:2]},
            r"shape \(2, 16\), not \(6, 16\) for 3 clients x 2 windows",
        ),
        "three dimensions": ({"windows": good[None]}, r"shape \(1, 6, 16\); save integers \(rows, length\)"),
        "float": ({"windows": good.float()}, r"type F32"),
        "bool": ({"windows": good.bool()}, r"type BOOL"),
        "beyond the vocabulary": ({"windows": good * 60}, r"token id 300 is outside the model's vocabulary of 300"),
        "negative id": ({"windows": -good}, r"token id -5 is outside"),
        "other name": ({"rows": good}, r"has the tensors \['rows'\]; save the windows as 'windows'"),
        "other length": ({"windows": good[:, :8].clone()}, r"shape \(6, 8\), not \(6, 16\)"),
        "empty": ({"windows": good[:0]}, r"shape \(0, 16\)"),
    }


@pytest.mark.parametrize(("tensors", "pattern"), windows_cases().values(), ids=windows_cases().keys())
@pytest.mark.parametrize("flag", ["data", "eval_data"])
def test_bad_windows_file_is_refused(prune, tmp_path, tensors, pattern, flag):
    """A windows file of wrong shape, type, name or ids exits 2 and says what it holds."""
    file = tmp_path / "w.safetensors"
    save_file(tensors, file)
    if flag == "eval_data" and pattern.startswith(r"shape \(2"):
        pytest.skip("any number of evaluation windows will do")
    if flag == "eval_data" and "shape" in pattern:
        pattern = r"shape|at least"

    assert_refused(prune(tmp_path / "run", **{flag: file}), pattern, out=tmp_path / "run")


def test_cut_short_windows_file_is_refused(prune, inputs, tmp_path):
    """A windows file that was cut short exits 2."""
    file = tmp_path / "w.safetensors"
    file.write_bytes((inputs.folder / "windows.safetensors").read_bytes()[:-5])

    assert_refused(prune(tmp_path / "run", data=file), r"cannot read windows from .*w\.safetensors")


def spoil_weights(folder: Path) -> None:
    """Cut the weight file short."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def drop_tensor(folder: Path) -> None:
    """Leave a block's tensor out."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(**values: object):
    """Make a change of config.json."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def replace_config(text: str):
    """Make a replacement of config.json."""
    return lambda folder: (folder / "config.json").write_text(text) and None


MODELS = {
    "no safetensors": (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors"),
    "cut short": (spoil_weights, r"model\.safetensors cannot be read as safetensors, or was cut short"),
    "not safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 200), r"cannot be read as safetensors"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), r"cannot be read as safetensors"),
    "tensor missing": (drop_tensor, r"holds no tensor for model\.layers\.1\.mlp\.up_proj\.weight \(1 missing\)"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json"),
    "config not json": (replace_config("{"), r"config\.json"),
    "config not an object": (replace_config("[]"), r"config\.json"),
    "config without a type": (replace_config("{}"), r"config\.json"),
    "config of another type": (replace_config('{"model_type": "nonsense"}'), r"config\.json|nonsense"),
    "not a causal model": (
        replace_config('{"model_type": "vit", "num_hidden_layers": 2}'),
        r"'vit' is no causal language model",
    ),
    "other width": (change_config(hidden_size=64), r"config\.json|shapes"),
    "more blocks": (change_config(num_hidden_layers=3), r"holds no tensor for model\.layers\.2"),
    "width of another kind": (change_config(hidden_size="wide"), r"config\.json"),
    "heads do not divide": (change_config(num_attention_heads=5), r"config\.json|heads"),
    "no tokenizer": (lambda f: [file.unlink() for file in f.glob("token*")], r"has no usable tokenizer"),
    "tokenizer not json": (lambda f: (f / "tokenizer.json").write_text("{"), r"has no usable tokenizer"),
}


@pytest.mark.parametrize(("spoil", "pattern"), MODELS.values(), ids=MODELS.keys())
def test_bad_model_folder_is_refused(prune, inputs, tmp_path, spoil, pattern):
    """A model folder that cannot be used exits 2 and says why."""
    folder = copy_of_model(inputs, tmp_path / "model")
    spoil(folder)

    assert_refused(prune(tmp_path / "run", model=folder), pattern, out=tmp_path / "run")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight"])
def test_activations_that_are_not_finite_are_refused(prune, inputs, tmp_path, name, value):
    """Non-finite activations exit 2 and name where they enter."""
    folder = copy_of_model(inputs, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights[name].fill_(value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "run"

    matrix = "mlp.down_proj" if "mlp" in name else "self_attn.q_proj"

    assert_refused(prune(out, model=folder), rf"activations entering .*{matrix}, channel 0, are not finite", out=out)


def test_block_of_activations_that_are_not_finite_is_named(prune, inputs, tmp_path):
    """Every block has a matrix of the same name, so the message says which block it is."""
    folder = copy_of_model(inputs, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.gate_proj.weight"].fill_(float("inf"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    assert_refused(prune(tmp_path / "run", model=folder), r"(layers\.1\.|block 1\b)")


def test_cuda_without_cuda_is_refused(prune, tmp_path, monkeypatch):
    """--device cuda exits 2 where there is none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert_refused(prune(tmp_path / "run", device="cuda"), r"--device cuda: no CUDA device is available here")
    assert not (tmp_path / "run").exists()


def test_out_that_is_a_file_is_refused(prune, tmp_path):
    """--out on a file exits 2 and leaves the file, even with --overwrite."""
    file = tmp_path / "run"
    file.write_text("mine")

    assert_refused(prune(file), r"--out .*run is a file; name a folder")
    assert_refused(prune(file, overwrite=True), r"--out .*run is a file; name a folder")
    assert file.read_text() == "mine"


def test_out_with_other_files_is_refused(prune, tmp_path):
    """--out on a folder with other files exits 2 and leaves them, whatever they are called."""
    out = tmp_path / "run"
    for name in ("diary.txt", "error.log", "work/thesis.tex", "model/weights.bin"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    before = sorted(out.rglob("*"))

    for overwrite in (None, True):
        ran = prune(out, overwrite=overwrite)
        assert_refused(ran, r"--out .*run holds other files \(diary\.txt\); name an empty folder")
        assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("name", ["work", "model", "result.json.partial", "votes.safetensors"])
def test_a_name_of_our_own_alone_makes_no_folder_ours(prune, tmp_path, name):
    """A folder with someone's own "work" in it is refused and stays as it is."""
    out = tmp_path / "run"
    (out / name).mkdir(parents=True)
    (out / name / "a.tex").write_text("mine")

    for overwrite in (None, True):
        assert_refused(prune(out, overwrite=overwrite), r"--out .*run holds other files")
        assert (out / name / "a.tex").read_text() == "mine"


def test_overwrite_leaves_what_is_not_a_result(prune, tmp_path):
    """--overwrite replaces what a run wrote, and nothing else."""
    out = tmp_path / "run"
    prune(out, baselines="", save_votes=True)
    (out / "notes.txt").write_text("mine")
    ran = prune(out, baselines="", sparsity="0.6", overwrite=True)

    assert ran.status == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "votes.safetensors").exists()


@pytest.mark.parametrize("flag", ["model", "data", "public_data", "eval_data"])
def test_an_input_inside_the_results_folder_is_refused(prune, inputs, tmp_path, flag):
    """What a run reads cannot lie where it writes and clears."""
    out = tmp_path / "run"
    out.mkdir()
    source = Path(inputs.model if flag == "model" else inputs.text)
    place = out / source.name
    shutil.copytree(source, place) if source.is_dir() else shutil.copyfile(source, place)
    before = sorted(out.rglob("*"))

    for overwrite in (None, True):
        ran = prune(out, **{flag: str(place)}, overwrite=overwrite)
        assert_refused(ran, rf"--{flag.replace('_', '-')} .* lies inside --out .*; name another folder")
        assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": 3}'])
def test_result_that_is_none_is_refused(prune, tmp_path, content):
    """A result.json that is none exits 2 and stays."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(content)
    ran = prune(tmp_path / "run")

    assert ran.status == 2
    assert re.search(r"result\.json is not a result .*; name another folder", ran.line)
    assert (tmp_path / "run" / "result.json").read_text() == content


def test_bad_input_leaves_a_former_result_alone(prune, tmp_path):
    """--overwrite removes nothing until the new run's inputs have been read."""
    out = tmp_path / "run"
    prune(out, baselines="")
    before = (out / "result.json").read_bytes()
    refused = prune(out, baselines="", data="/nowhere/text.txt", overwrite=True)

    assert refused.status == 2
    assert (out / "result.json").read_bytes() == before


@pytest.mark.parametrize("place", ["/proc/nowhere/run", "{folder}/file/run"], ids=["no permission", "below a file"])
def test_out_that_cannot_be_made_is_refused(prune, tmp_path, place):
    """An --out that cannot be made exits 2 and names the path."""
    (tmp_path / "file").write_text("")
    out = Path(place.format(folder=tmp_path))

    assert_refused(prune(out, baselines=""), r"(No such file|Not a directory|Permission denied).*(nowhere|file)")


SYSTEM_ERRORS = ("ENOSPC", "EDQUOT", "EACCES", "EROFS", "ENOTDIR", "ENOENT")


@pytest.mark.parametrize("name", SYSTEM_ERRORS)
def test_what_the_system_refuses_is_one_line(prune, tmp_path, monkeypatch, name):
    """A full disk, a spent quota, a missing permission or a path that is gone exits 2 and names the place."""
    number = getattr(errno, name)

    def fail(self):
        raise OSError(number, os.strerror(number), "/some/place")

    monkeypatch.setattr(Federation, "run", fail)
    ran = prune(tmp_path / "run", baselines="")

    assert_refused(
        ran, re.escape(f"{os.strerror(number)} (/some/place); finished blocks are kept"), out=tmp_path / "run"
    )


def test_other_system_errors_are_unexpected(prune, tmp_path, monkeypatch):
    """A broken disk is nothing that another path or more room would mend: status 1, and a log."""

    def fail(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Federation, "run", fail)
    ran = prune(tmp_path / "run", baselines="")

    assert ran.status == 1
    assert (tmp_path / "run" / "error.log").exists()


def full_disk(*_: object, **__: object) -> None:
    """Stand in for a write on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("fedprllm_secure.hidden_states.HiddenStates", "save"),
        ("fedprllm_secure.models.checkpoint.TensorWriter", "write"),
        ("fedprllm_secure.models.checkpoint.TensorWriter", "close"),
        ("experiments.prune_command", "save_votes"),
        ("experiments.result", "write_durably"),
        ("fedprllm_secure.durable.os", "fsync"),
    ],
)
def test_full_disk_leaves_nothing_half_written(prune, tmp_path, monkeypatch, owner, name):
    """A disk that is full at any write exits 2 with one line; the same command then finishes."""
    out = tmp_path / "run"
    asked = {"save_model": True, "save_votes": True, "baselines": "dense"}
    with monkeypatch.context() as patch:
        patch.setattr(f"{owner}.{name}", full_disk)
        ran = prune(out, **asked)

    assert_refused(ran, "No space left on device", out=out)
    assert prune(out, **asked).status == 0


def test_disk_too_small_for_hidden_states_is_refused_before_the_work(prune, tmp_path, monkeypatch):
    """Hidden states that find no room on disk exit 2 before the first block."""
    monkeypatch.setattr("fedprllm_secure.hidden_states.os.posix_fallocate", full_disk)
    out = tmp_path / "run"

    assert_refused(prune(out, hidden_memory=0), "No space left on device", out=out)
    assert not list(out.glob("work/block*"))


def test_disk_full_while_the_result_is_written_leaves_no_part_of_it(prune, tmp_path, monkeypatch):
    """A disk that is full while result.json is written leaves no part of it; the same command then finishes."""
    original = Path.write_bytes

    def write_bytes(self, data):
        if b'"schema"' in data:
            full_disk()
        return original(self, data)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        assert_refused(prune(out, baselines=""), "No space left on device", out=out)

    assert prune(out, baselines="").status == 0


def test_disk_full_while_the_model_is_saved_leaves_no_part_of_it(prune, tmp_path, monkeypatch):
    """A disk that is full while DIR/model is written leaves neither DIR/model nor a part of it."""
    original = TensorWriter.write

    def write(self, name, tensor):
        if name.endswith(".weight"):
            full_disk()
        original(self, name, tensor)

    monkeypatch.setattr(TensorWriter, "write", write)
    out = tmp_path / "run"

    assert_refused(prune(out, save_model=True, baselines=""), "No space left on device", out=out)
    assert not any(path.name.startswith("model") for path in out.iterdir())


@pytest.mark.parametrize("size_kib", [40, 100, 180, 260, 340, 420])
def test_really_full_disk_is_refused(prune, inputs, tmp_path, size_kib):
    """On a file system of a few kilobytes the run exits 2 with one line wherever the room ends."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        out = small / "run"
        ran = prune(out, save_model=True, save_votes=True, save_transcript=True)

        assert_refused(ran, "No space left on device", out=out)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("step", ["advertise", "submit", "reveal"])
def test_aborted_protocol_exits_with_three(prune, tmp_path, step):
    """Where every client leaves, the protocol aborts: status 3, one line, no result."""
    out = tmp_path / "run"
    ran = prune(out, dropout=f"0.999999@{step}")

    assert ran.status == 3
    assert ran.line.startswith("the protocol aborted: ")
    assert ran.stdout == ""
    assert leftovers(out) == []


def test_unexpected_error_is_logged(prune, tmp_path, monkeypatch):
    """An unexpected error exits 1 with one line that names DIR/error.log, where the traceback is."""

    def fail(self):
        raise RuntimeError("on a\nthursday")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Federation, "run", fail)
        ran = prune(out, baselines="")

    assert ran.status == 1
    assert ran.line == f"fedprllm: unexpected RuntimeError: on a thursday; the traceback is in {out / 'error.log'}"
    assert "Traceback" in (out / "error.log").read_text()
    assert not (out / "result.json").exists()


def test_success_removes_the_log_of_an_earlier_failure(prune, tmp_path, monkeypatch):
    """The same command after an unexpected error finishes, and no error.log stays beside its result."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Federation, "run", lambda self: 1 / 0)
        assert prune(out, baselines="").status == 1

    assert prune(out, baselines="").status == 0
    assert not (out / "error.log").exists()


def test_unexpected_error_without_a_folder_is_printed(cli, inputs, monkeypatch):
    """``evaluate`` has no folder: its traceback goes to stderr, its status is 1."""

    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("experiments.evaluate_command.perplexities", fail)
    ran = cli("evaluate", "--model", inputs.model, "--eval-data", inputs.eval_text, "--device", "cpu", "--json")

    assert ran.status == 1
    assert "Traceback" in ran.stderr
    assert ran.stderr.splitlines()[-1] == "fedprllm: unexpected RuntimeError: no"


def test_cut_short_resume_state_is_refused(prune, tmp_path, monkeypatch):
    """Resume state that was cut short exits 2 and names --overwrite."""
    out = tmp_path / "run"
    original = WorkFolder.save_block

    def save_block(self, index, *rest):
        original(self, index, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save_block", save_block)
        assert prune(out, baselines="").status == 130
    (state,) = (out / "work").glob("hidden-*")
    state.write_bytes(state.read_bytes()[:-1])

    assert_refused(prune(out, baselines=""), r"cut short; start over with --overwrite", out=out)


EVALUATE = {
    "no text": ({"--eval-data": None}, r"--eval-data is needed"),
    "no such masks": ({"--prune-masks": "/nowhere/m.safetensors"}, r"m\.safetensors: there is no such file"),
    "window too long": ({"--window-length": "65"}, r"--window-length 65 must be"),
    "model": ({"--model": "/nowhere"}, r"there is no such folder"),
    "digest": ({"--model-sha256": "ab"}, r"--model-sha256 ab: the model's digest is"),
}


@pytest.mark.parametrize(("changed", "pattern"), EVALUATE.values(), ids=EVALUATE.keys())
def test_evaluate_refuses_bad_input(cli, inputs, changed, pattern):
    """``evaluate`` exits 2 with one line too."""
    flags = {"--model": inputs.model, "--eval-data": inputs.eval_text, "--device": "cpu", **changed}
    arguments = [f"{name}={value}" for name, value in flags.items() if value is not None]

    assert_refused(cli("evaluate", "--json", *arguments), pattern)


@pytest.mark.parametrize("kind", ["float", "shape", "missing", "cut short"])
def test_masks_that_do_not_fit_are_refused(cli, prune, inputs, tmp_path, kind):
    """``evaluate`` refuses prune masks of another type, shape or model, and a file that was cut short."""
    prune(tmp_path / "run", baselines="", eval_data=None)
    masks = load_file(tmp_path / "run" / "prune_masks.safetensors")
    name = "model.layers.1.mlp.up_proj"
    if kind == "missing":
        del masks[name]
    masks |= {"float": {name: masks.get(name, torch.ones(1)).float()}, "shape": {name: torch.ones(2, 2).byte()}}.get(
        kind, {}
    )
    file = tmp_path / "masks.safetensors"
    save_file(masks, file)
    if kind == "cut short":
        file.write_bytes(file.read_bytes()[:-1])
    ran = cli(
        "evaluate", "--model", inputs.model, "--eval-data", inputs.eval_text, "--prune-masks", file, "--device", "cpu"
    )

    assert_refused(ran, r"cut short" if kind == "cut short" else rf"does not fit the model.*{name}")
