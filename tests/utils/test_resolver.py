from __future__ import annotations

from typing import Any

import pytest

from hist2st_pyg.utils.resolver import check_choice, resolve

CHOICES = {"b": 2, "a": None, "c": 3}


def test_a_key_gives_its_value() -> None:
    assert [resolve(CHOICES, key, "letter") for key in CHOICES] == [2, None, 3]


@pytest.mark.parametrize("key", ["d", "", "A", None, 3, ["a"]])
def test_anything_else_lists_the_choices_in_order(key: Any) -> None:
    with pytest.raises(ValueError, match=r"^Unknown letter=.*\. Choose one of: a, b, c\.$") as error:
        resolve(CHOICES, key, "letter")
    assert repr(key) in str(error.value)
    with pytest.raises(ValueError, match=r"^Unknown letter=.*\. Choose one of: a, b, c\.$"):
        check_choice(("b", "c", "a"), key, "letter")
