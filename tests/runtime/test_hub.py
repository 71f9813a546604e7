"""Names: the embedded model, folders, and the Hub through a cache laid out as it does."""

import shutil
import subprocess
import sys

import pytest

from bert_mobile import hub
from bert_mobile.errors import ArtifactError, MissingExtraError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tiny_quantized, tmp_path):
    """A Hub cache that holds one model as `someone/tiny`."""
    repository = tmp_path / "home/hub/models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    shutil.copytree(tiny_quantized, repository / "snapshots" / COMMIT)
    return tmp_path / "home"


def in_a_fresh_process(code, cache):
    """Run code under HF_HOME and HF_HUB_OFFLINE, which the Hub's library reads at its import."""
    environment = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_a_cached_model_loads_offline(cache):
    code = "import bert_mobile; print(bert_mobile.load('someone/tiny').fill_mask('the [MASK]')[0])"
    done = in_a_fresh_process(code, cache)
    assert done.returncode == 0, done.stderr
    assert "'token_str'" in done.stdout


def test_an_uncached_model_offline_is_a_clear_error(cache):
    code = """
from bert_mobile import hub, errors
try:
    hub.resolve('someone/else')
except errors.ArtifactError as error:
    print(error.message, '|', error.hint)
"""
    done = in_a_fresh_process(code, cache)
    assert "HF_HUB_OFFLINE forbids fetching it" in done.stdout, done.stderr
    assert str(cache) in done.stdout
    assert "unset HF_HUB_OFFLINE" in done.stdout


def test_only_what_is_read_is_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        if "model.safetensors" in allow_patterns:
            (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert hub.resolve("someone/tiny") == tmp_path
    always = {"config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"}
    assert [name for name, _ in asked] == ["someone/tiny"] * 3
    assert [set(files) - always - {"provenance.json"} for _, files in asked] == [
        {"onnx/model_quantized.onnx"},
        {"onnx/model.onnx"},
        {"model.safetensors"},
    ]
    asked.clear()
    hub.resolve("someone/tiny")
    assert len(asked) == 1


def test_the_networks_troubles_are_one_line(monkeypatch):
    import huggingface_hub

    def snapshot_download(name, allow_patterns):
        raise OSError("401 Client Error.\n\nRepository Not Found for url\nmore")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ArtifactError, match="'someone/tiny' is no folder and could not") as caught:
        hub.resolve("someone/tiny")
    assert caught.value.message.endswith("401 Client Error.")


def test_without_the_hubs_package_a_hint_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError) as caught:
        hub.resolve("someone/tiny")
    assert caught.value.hint == 'pip install "bert-mobile[hub]"'


@pytest.mark.parametrize("name", ["./absent", "/no/such/folder", "", "../x/y", "a b/c", "x" * 9999])
def test_names_that_can_be_nothing_are_refused_without_the_network(name):
    with pytest.raises(ArtifactError, match="is no folder, expected"):
        hub.resolve(name)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="is no folder"):
        hub.resolve(str(tmp_path / "file"))


def test_a_folder_is_itself(tmp_path):
    assert hub.resolve(str(tmp_path)) == tmp_path


def test_the_embedded_model_may_be_absent(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "__file__", str(tmp_path / "hub.py"))
    with pytest.raises(ArtifactError, match="without an embedded model"):
        hub.resolve("default")
    (tmp_path / "default/onnx").mkdir(parents=True)
    (tmp_path / "default/onnx/model_quantized.onnx").touch()
    assert hub.resolve("default") == tmp_path / "default"
