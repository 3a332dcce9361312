"""What docstrings say, in the styles that people write."""

from __future__ import annotations

import pytest

from lmrun.tools.functions.docstrings import read_docstring

GOOGLE = """Weigh a parcel.

    It is put on the scales.

    Args:
        parcel (str): Which one,
            by its number.
        unit: The unit: g or kg.

    Returns:
        The weight.
    """
NUMPY = """Weigh a parcel.

    It is put on the scales.

    Parameters
    ----------
    parcel : str
        Which one,
        by its number.
    unit : {"g", "kg"}, optional
        The unit: g or kg.

    Returns
    -------
    float
        The weight.
    """
SPHINX = """Weigh a parcel.

    It is put on the scales.

    :param str parcel: Which one,
        by its number.
    :param unit: The unit: g or kg.
    :type unit: str
    :returns: The weight.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_parameters_are_found_and_the_rest_is_kept(docstring: str) -> None:
    said = read_docstring(docstring, ("parcel", "unit"))
    assert said.parameters == {"parcel": "Which one, by its number.", "unit": "The unit: g or kg."}
    assert said.text.startswith("Weigh a parcel.\n\nIt is put on the scales.\n\n")
    assert "The weight." in said.text
    assert "Which one" not in said.text


def test_without_parameters_everything_is_kept() -> None:
    said = read_docstring("Add: two numbers.\n\n    Note: they are\n      added.", ("a",))
    assert said.text == "Add: two numbers.\n\nNote: they are\n  added."
    assert said.parameters == {}


def test_names_that_are_no_parameters_are_dropped() -> None:
    assert read_docstring("X.\n\nArgs:\n    a: One.\n    z: None.", ("a",)).parameters == {
        "a": "One."
    }


@pytest.mark.parametrize("docstring", [None, "", "   \n  "])
def test_no_docstring_says_nothing(docstring: str | None) -> None:
    assert read_docstring(docstring, ("a",)).text == ""


def test_a_parameter_of_which_nothing_is_said_has_no_description() -> None:
    said = read_docstring("X.\n\nParameters\n----------\na : int\nb : int\n    Two.", ("a", "b"))
    assert said.parameters == {"b": "Two."}
