"""Checks what a wheel and a source distribution contain: python check_wheel.py WHEEL SDIST."""

import email
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]


def tracked(*folders):
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def check_wheel(path, project):
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        info = f"pathcond_native-{project['version']}.dist-info"
        metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
        licence = wheel.read(f"{info}/licenses/LICENSE")
        core = {name for name in names if name.startswith("pathcond_native/_core.")}
        (module,) = (wheel.read(name) for name in core if name.endswith(".so"))
    expected = tracked("pathcond_native") | core
    parts = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    expected |= {f"{info}/{name}" for name in parts}
    assert names == expected, names ^ expected
    assert {"pathcond_native/py.typed", "pathcond_native/_core.pyi"} <= names
    assert licence == (ROOT / "LICENSE").read_bytes()

    check_module(module)

    assert metadata["Name"] == project["name"]
    assert metadata["License-Expression"] == project["license"]
    assert metadata["Requires-Python"] == project["requires-python"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert metadata["Summary"] and metadata["Keywords"]
    assert set(metadata.get_all("Classifier")) == set(project["classifiers"])
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert len(metadata.get_all("Project-URL")) == len(project["urls"])


def check_module(module):
    """CUDA's libraries are not needed; where nvcc is, there is code for GPUs, and PTX for newer."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(module)
        file.flush()
        shown = subprocess.run(["readelf", "-d", file.name], capture_output=True, text=True)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", shown.stdout)
    assert "libstdc++.so.6" in needed and not [x for x in needed if "cuda" in x], needed
    expected = {("code", 80), ("code", 90), ("PTX", 90)} if shutil.which("nvcc") else set()
    assert set(kernels(module)) == expected, list(kernels(module))


def kernels(module):
    """Kind and GPU architecture of all kernels; where they are is what cuobjdump, which few have,
    goes by: a header for each, after one for all.
    """
    for found in re.finditer(re.escape(struct.pack("<IH", 0xBA55ED50, 1)), module):
        header, size = struct.unpack_from("<HQ", module, found.start() + 6)
        at, end = found.start() + header, found.start() + header + size
        while at < end:
            kind, header, size, architecture = struct.unpack_from("<H2xIQ12xI", module, at)
            yield {1: "PTX", 2: "code"}[kind], architecture
            at += header + size


def check_sdist(path):
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    missing = tracked("csrc", "pathcond_native", "tests", "CMakeLists.txt", "LICENSE") - names
    assert not missing, missing
    stray = names - tracked() - {"PKG-INFO"}
    assert not stray, stray
    assert not any(name.startswith("benchmarks/results/") for name in names)


if __name__ == "__main__":
    wheel, sdist = sys.argv[1:]
    check_wheel(wheel, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    check_sdist(sdist)
