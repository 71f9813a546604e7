"""A Kotlin compiler: `kotlinc`, or the one in the package of Kotlin's Jupyter kernel.

    pip install --no-deps kotlin-jupyter-kernel

Either needs `java`.
"""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

KOTLINC, JAVA = shutil.which("kotlinc"), shutil.which("java")
KERNEL = find_spec("run_kotlin_kernel")
MISSING = JAVA is None or (KOTLINC is None and KERNEL is None)
_COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"


def compiled(sources, out):
    """Compile sources to `out`.jar and return the classpath to run them with."""
    jar = out.with_suffix(".jar")
    command, beside = _compiler()
    done = subprocess.run(
        [*command, *map(str, sources), "-Werror", "-d", str(jar)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return os.pathsep.join([str(jar), *beside])


def _compiler():
    """Return the command, and what its programs need besides themselves."""
    if KOTLINC is not None:
        return [KOTLINC, "-include-runtime"], []
    jars = Path(next(iter(KERNEL.submodule_search_locations))) / "jars"
    (library,) = map(str, jars.glob("kotlin-stdlib-[0-9]*.jar"))
    return [JAVA, "-cp", f"{jars}/*", _COMPILER, "-no-stdlib", "-no-reflect", "-cp", library], [
        library
    ]
