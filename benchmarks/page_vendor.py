"""Check the runtime that the page brings along, or fetch another version of it through npm.

python benchmarks/page_vendor.py
python benchmarks/page_vendor.py --refresh 1.30.0
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src/bert_mobile/page/site/page/vendor"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def plain(name: str) -> bytes:
    """Return a file's bytes as npm has them."""
    packed = FOLDER / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (FOLDER / name).read_bytes()


def refresh(version: str) -> None:
    """Fetch a version and lay it into the package."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted = f"onnxruntime-web@{version}"
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--prefix", scratch, wanted],  # noqa: S607
            check=True,
        )
        dist = Path(scratch) / "node_modules/onnxruntime-web/dist"
        hashes = {}
        for name in FILES:
            data = (dist / name).read_bytes()
            hashes[name] = hashlib.sha256(data).hexdigest()
            if name.endswith(".wasm"):
                (FOLDER / f"{name}.gz").write_bytes(gzip.compress(data, 9, mtime=0))
            else:
                (FOLDER / name).write_bytes(data)
    facts = {"package": "onnxruntime-web", "version": version, "license": "MIT", "sha256": hashes}
    (FOLDER / "versions.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def damaged() -> list[str]:
    """Return the files that are not what `versions.json` says."""
    recorded = json.loads((FOLDER / "versions.json").read_text(encoding="utf-8"))["sha256"]
    return [n for n in FILES if hashlib.sha256(plain(n)).hexdigest() != recorded[n]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refresh", metavar="VERSION")
    given = parser.parse_args()
    if given.refresh:
        refresh(given.refresh)
    wrong = damaged()
    print(f"damaged: {', '.join(wrong)}" if wrong else "the page's runtime is whole")
    sys.exit(1 if wrong else 0)
