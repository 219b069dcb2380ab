"""Programs that embed, find or simply link the C++ and C library."""

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from toolchain import C_COMPILER, ENVIRONMENT, build, run

import pathcond_native

EXAMPLES = Path(__file__).parents[2] / "benchmarks" / "examples" / "native"
STRICT = ("-pedantic", "-Wall", "-Wextra", "-Werror")


def printed(output, name):
    """Numbers of the lines "name number"."""
    lines = (line.split() for line in output.splitlines())
    return np.array([float(words[1]) for words in lines if words[0] == name])


def perceptron(widths):
    """B and g of the network in rescale.cpp: all paths enumerated."""
    counter = iter(range(1, 10**6))
    layers = []
    for inputs, outputs in pairwise(widths):
        numbers = [np.sin(next(counter)) / 2 for _ in range(outputs * (inputs + 1))]
        weight = np.reshape(numbers[: outputs * inputs], (outputs, inputs))
        layers.append((weight, np.array(numbers[outputs * inputs :])))
    hidden = np.concatenate([[0], np.cumsum(widths[1:-1])])
    rows = np.cumsum([0] + [weight.size + bias.size for weight, bias in layers])
    B = np.zeros((rows[-1], hidden[-1]))
    g = np.zeros(rows[-1])

    def follow(layer, neuron, path):
        """All continuations of a path, a list of (row, parameter), from a neuron's output."""
        if layer == len(layers):
            values = np.array([value for _, value in path])
            for k, (row, _) in enumerate(path):
                g[row] += np.prod(np.delete(values, k)) ** 2
            return
        weight, _ = layers[layer]
        for i in range(len(weight)):
            row = rows[layer] + i * weight.shape[1] + neuron
            follow(layer + 1, i, [*path, (row, weight[i, neuron])])

    for layer, (weight, bias) in enumerate(layers):
        for i in range(len(bias)):
            row = rows[layer] + weight.size + i
            follow(layer + 1, i, [(row, bias[i])])
            if layer + 1 < len(layers):
                entering = rows[layer] + i * weight.shape[1] + np.arange(weight.shape[1])
                leaving = rows[layer + 1] + np.arange(widths[layer + 2]) * len(bias) + i
                B[[*entering, row], hidden[layer] + i] = -1
                B[leaving, hidden[layer] + i] = 1
    for neuron in range(widths[0]):
        follow(0, neuron, [])
    return B, g


def check_rescale(output):
    expected = pathcond_native.solve(*perceptron((3, 8, 4, 6, 2))).scales
    np.testing.assert_allclose(printed(output, "lambda"), expected, rtol=1e-10)


def check_solve(output):
    B = np.array([[-1, 0], [-1, 0], [1, -1], [0, -1], [0, 1]])
    expected = pathcond_native.solve(B, [4.0, 1.0, 0.5, 2.0, 0.25])
    np.testing.assert_allclose(printed(output, "u"), expected.u, rtol=1e-10)
    np.testing.assert_allclose(printed(output, "objective"), expected.objective, rtol=1e-13)


def test_embedded(library):
    run(library.embedding)


def test_found_by_cmake(library, tmp_path):
    build(EXAMPLES, tmp_path, f"-DCMAKE_PREFIX_PATH={library.prefix}")
    check_rescale(run(tmp_path / "rescale"))
    check_solve(run(tmp_path / "solve"))


def test_found_by_a_project_of_c_alone(library, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18...4.0)\n"
        "project(c_alone LANGUAGES C)\n"
        "find_package(pathcond 0.1 CONFIG REQUIRED)\n"
        f"add_executable(solve {EXAMPLES / 'solve.c'})\n"
        "target_link_libraries(solve PRIVATE pathcond::pathcond)\n"
    )
    build(tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={library.prefix}")
    check_solve(run(tmp_path / "build" / "solve"))


def test_linked_by_a_c_compiler(libraries, tmp_path):
    prefix = libraries["static"].prefix
    program = tmp_path / "solve"
    flags = ["-std=c99", *STRICT, f"-I{prefix / 'include'}", f"-L{prefix / 'lib'}"]
    run(*C_COMPILER, *flags, EXAMPLES / "solve.c", "-o", program, "-lpathcond", "-lstdc++", "-lm")
    check_solve(run(program))


@pytest.mark.parametrize(
    ("compiler", "header"),
    [
        (("cc", "-std=c99", "-x", "c"), "pathcond.h"),
        (("c++", "-std=c++11", "-x", "c++"), "pathcond.h"),
        (("c++", "-std=c++20", "-x", "c++"), "solve.hpp"),
    ],
)
def test_headers_stand_alone(libraries, tmp_path, compiler, header):
    source = tmp_path / "source"
    source.write_text(f"#include <pathcond/{header}>\n")
    include = libraries["static"].prefix / "include"
    run(*compiler, *STRICT, "-fsyntax-only", f"-I{include}", source)


def test_a_version_that_promises_too_much_is_not_found(libraries, tmp_path):
    prefix = libraries["static"].prefix
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18...4.0)\n"
        "project(later LANGUAGES C)\n"
        "find_package(pathcond 99.0 CONFIG REQUIRED)\n"
    )
    with pytest.raises(AssertionError, match=r"99\.0"):
        build(tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def test_only_the_interface_is_installed(library):
    files = {str(path.relative_to(library.prefix)) for path in library.prefix.rglob("*.h*")}
    assert files == {f"include/pathcond/{name}" for name in ("export.h", "pathcond.h", "solve.hpp")}


def test_only_the_interface_is_shown(libraries):
    symbols = subprocess.run(
        ["nm", "-DC", "--defined-only", libraries["shared"].prefix / "lib" / "libpathcond.so"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    shown = {line.split(maxsplit=2)[2] for line in symbols if line.split()[1] == "T"}
    c = {"pathcond_solve", "pathcond_options_init", "pathcond_version"}
    assert shown == c | {"pathcond::name(pathcond::Status)"}
    assert sum("pathcond::Solution pathcond::solve<" in line for line in symbols if " W " in line)
