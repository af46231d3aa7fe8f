import re

import pyarrow as pa
import pytest

from daskjobs.orders.quarantine import no_formula


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n", "; ", ';"', "\t\t", ' \t " '])
@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_is_a_formula_whatever_separates_cells(separator: str, first: str) -> None:
    texts = [f"x{separator}{first}1{separator}{first}2", f" {first}3", "x,=1", f"a;b{separator}c"]
    cells = no_formula(pa.chunked_array([texts[:1], texts[1:]])).to_pylist()
    for text in cells:
        for cell in re.split(r"[;\t\r\n]", text):
            assert not re.match(r'[ "]*[-=+@\uff1d]', cell), text
    assert [text.replace("'", "") for text in cells] == texts
    assert cells[2:] == texts[2:]
    assert [len(text) for text in cells] == [len(texts[0]) + 2, len(texts[1]) + 1, *map(len, texts[2:])]
