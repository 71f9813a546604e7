"""The manifest: every accident is noticed, and hostile ones lead nowhere."""

import json
import shutil

import pytest

from bert_mobile.checkpoint import verify
from bert_mobile.errors import ArtifactError
from bert_mobile.files import sha256
from bert_mobile.manifest import read_sealed, write_sealed

CODE = "bert-mobile 0.1.0"
GOOD = "0" * 64


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    path = tmp_path / "provenance.json"
    write_sealed(path, {"code": CODE, "files": {"config.json": sha256(tmp_path / "config.json")}})
    return path


def test_the_bytes_are_these(manifest):
    """Golden: readers in other languages rely on the form."""
    assert manifest.read_bytes() == (
        b'{\n  "sealed": true,\n  "code": "bert-mobile 0.1.0",\n  "files": {\n'
        b'    "config.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"\n'
        b'  },\n  "seal": "0e805cfc725565a4b022d2066199afbade11bec42d455a2189848f293f230271"\n}\n'
    )


def test_every_flipped_bit_is_noticed(manifest):
    data = manifest.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            spoiled = bytearray(data)
            spoiled[place] ^= 1 << bit
            manifest.write_bytes(spoiled)
            with pytest.raises(ArtifactError):
                read_sealed(manifest)


def test_every_truncation_and_extension_is_noticed(manifest):
    data = manifest.read_bytes()
    for spoiled in [
        *(data[:end] for end in range(len(data))),
        data + b"\n",
        data + data,
        b" " + data,
    ]:
        manifest.write_bytes(spoiled)
        with pytest.raises(ArtifactError):
            read_sealed(manifest)


HOSTILE = {
    "empty": (b"", "cannot be read"),
    "no object": (b"[1]", "holds a JSON list"),
    "an empty object": (b"{}", "no provenance record of ours"),
    "no hashes": (json.dumps({"code": CODE}).encode(), "no provenance record of ours"),
    "hashes in a list": (json.dumps({"code": CODE, "files": ["a"]}).encode(), "no provenance"),
    "another program's": (json.dumps({"files": {"a": GOOD}}).encode(), "no provenance record"),
    "a key twice": (b'{"files": {"a": "' + GOOD.encode() * 2 + b'"}, "files": {}}', "twice"),
    "a number for a hash": (json.dumps({"code": CODE, "files": {"a": 7}}).encode(), "SHA-256"),
    "not a number": (b'{"code": "bert-mobile 1", "files": {"a": NaN}}', "no JSON"),
    "a short hash": (json.dumps({"code": CODE, "files": {"a": "00"}}).encode(), "SHA-256"),
    "upper case": (json.dumps({"code": CODE, "files": {"a": "A" * 64}}).encode(), "SHA-256"),
    "nested": (b'{"a": ' * 100_000, "cannot be read"),
    "huge": (b" " * 16_000_001, "16,000,001 bytes"),
    "a huge number": (b'{"a": ' + b"9" * 10_000 + b"}", "cannot be read"),
    "no text": (b"\xff\xfe{}", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_manifests(manifest, case):
    data, problem = HOSTILE[case]
    manifest.write_bytes(data)
    with pytest.raises(ArtifactError, match=problem):
        verify(manifest.parent, ["config.json"])


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "C:x", "./a", "a//b", "", ".", "a\0b"]
)
def test_names_that_lead_elsewhere(manifest, name):
    write_sealed(manifest, {"code": CODE, "files": {name: GOOD}})
    with pytest.raises(ArtifactError, match="names a file"):
        read_sealed(manifest)


def test_a_file_that_no_sealed_manifest_names(manifest):
    (manifest.parent / "vocab.txt").write_text("[PAD]")
    with pytest.raises(ArtifactError, match=r"vocab.txt is not in provenance.json"):
        verify(manifest.parent, ["vocab.txt"])


def test_a_record_from_before_seals_still_holds(manifest):
    record = json.loads(manifest.read_text())
    del record["sealed"], record["seal"]
    manifest.write_text(json.dumps(record))
    verify(manifest.parent, ["config.json", "absent"])
    (manifest.parent / "config.json").write_text("{ }")
    with pytest.raises(ArtifactError, match=r"config.json is missing or damaged"):
        verify(manifest.parent, ["config.json"])


@pytest.mark.parametrize("mark", ["sealed", "seal"])
def test_half_a_seal_is_none(manifest, mark):
    record = json.loads(manifest.read_text())
    del record[mark]
    manifest.write_text(json.dumps(record, indent=2) + "\n")
    with pytest.raises(ArtifactError, match="seal"):
        read_sealed(manifest)


def test_swapped_files_are_noticed(tiny_checkpoint, tmp_path):
    names = sorted(path.name for path in tiny_checkpoint.iterdir())
    for first in names:
        for second in names[names.index(first) + 1 :]:
            folder = shutil.copytree(tiny_checkpoint, tmp_path / f"{first}-{second}")
            shutil.copyfile(tiny_checkpoint / first, folder / second)
            shutil.copyfile(tiny_checkpoint / second, folder / first)
            with pytest.raises(ArtifactError):
                verify(folder, names)
