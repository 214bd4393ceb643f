"""Is what was said of rows said of pictures, and nothing else changed?"""

import pytest

from data.words import spoken


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "3 rows are left out, as rows of their group are kept.",
            "3 pictures are left out, as pictures of their group are kept.",
        ),
        ("Rows that say so: one row", "Pictures that say so: one picture"),
        ("set sample.mix: natural, or sample.rows", "set sample.mix: natural, or sample.rows"),
        ("class 'rows' in /data/rows/a.png or rows/b.png", "class 'rows' in /data/rows/a.png or rows/b.png"),
        ("ask for fewer with --rows, or rows_per_file", "ask for fewer with --rows, or rows_per_file"),
    ],
)
def test_rows_are_pictures(said, meant):
    assert spoken(said) == meant
