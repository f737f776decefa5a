"""Choices that the help shows."""

from __future__ import annotations

import pytest

from hist2st_pyg.cli._choices import first_sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("abs(input) -> Tensor\n\nThe size of :attr:`x`. More.", "The size of x."),
        ("By Zeng et al. 2022, see :class:`~a.b.C`.\nMore.", "By Zeng et al. 2022, see C."),
        ('The operator of the `"Paper" <https://x.y>`_ paper.', 'The operator of the "Paper" paper.'),
        ("", ""),
    ],
)
def test_the_first_sentence_is_without_markup(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence
