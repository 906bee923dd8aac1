"""Random streams: addressed by name and position, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.datasets._random import Streams, barcodes, seed_of


def test_numbers_depend_on_position_only():
    streams = Streams(3)
    whole = streams.uniform("a", np.arange(100))
    np.testing.assert_array_equal(streams.uniform("a", [17, 3]), whole[[17, 3]])


def test_streams_and_seeds_differ():
    positions = np.arange(5)
    first = Streams(3).uniform("a", positions)
    assert (first != Streams(3).uniform("b", positions)).all()
    assert (first != Streams(4).uniform("a", positions)).all()


def test_uniform_is_uniform_and_open():
    values = Streams(0).uniform("x", np.arange(50_000))
    assert 0 < values.min() < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_choice_takes_the_given_shares():
    weights = np.array([[1.0, 0.0, 3.0]])
    chosen = Streams(1).choice("c", np.arange(20_000), weights)
    share = np.bincount(chosen, minlength=3) / chosen.size
    assert share[1] == 0
    assert share[2] == pytest.approx(0.75, abs=0.01)


def test_barcodes_are_unique_and_of_sixteen_bases():
    made = barcodes(12345, np.arange(20_000))
    assert len(set(made)) == len(made)
    assert {len(code) for code in made} == {16}
    assert set("".join(made)) == set("ACGT")


def test_values_are_pinned():
    # The same on every platform and Python: computed once, see docs/simulator.md.
    pinned = [0.5568564275920969, 0.7507436591690757, 0.6252280578078377]
    assert Streams(42).uniform("pin", np.arange(3)).tolist() == pinned


def test_seed_of_generator_advances_it():
    generator = np.random.default_rng(0)
    assert seed_of(generator) != seed_of(generator)
    assert seed_of(7) == 7
    assert seed_of(np.int64(7)) == 7
    assert seed_of(None) != seed_of(None)


@pytest.mark.parametrize("bad", [-1, 1.5, "0", True])
def test_seed_of_says_what_it_needs(bad):
    with pytest.raises(ValueError, match=r"rng is .*whole number >= 0, a numpy Generator or None"):
        seed_of(bad)
