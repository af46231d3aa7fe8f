"""What stands beside a file of rules: imported, read and hashed, also where the rules are sent to."""

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import inline
from conftest import csv_text, row
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.orders.rules.ruleset import Ruleset, read_rules

ORDERS = pd.DataFrame({"product": ["lamp", "kettle"], "quantity": [1, 20]})
TABLE = """
from pathlib import Path
import pandas as pd

_KNOWN = pd.read_csv(Path(__file__).parent / "ref.csv", dtype=str)


def unknown(orders):
    "The product is in no catalogue."
    return ~orders["product"].isin(_KNOWN["product"])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def sent(folder: Path) -> Ruleset:
    """Read the rules of a folder as they come to a worker that doesn't have this folder."""
    rules = pickle.dumps(read_rules(Storage(str(folder.parent / "run")), f"{folder}/rules.py"))
    away = folder.with_name("away")
    folder.rename(away)
    try:
        arrived: Ruleset = pickle.loads(rules)
        assert arrived.own
        return arrived
    finally:
        away.rename(folder)


def rejected(rules: Ruleset) -> dict[str, list[Any]]:
    return {name: list(rule(ORDERS)) for name, rule in rules.own.items()}


def test_rules_read_a_table_beside_them_that_their_text_names(shop: Path) -> None:
    write(shop, rules_py=TABLE, ref_csv="product\nkettle\n", other_csv="secret\n")
    rules = sent(shop)
    assert rejected(rules) == {"unknown": [True, False]}
    assert [name for name, _ in rules.beside.files] == ["ref.csv"]
    write(shop, ref_csv="product\nlamp\n")
    changed = sent(shop)
    assert rejected(changed) == {"unknown": [False, True]}
    assert changed.sha256 != rules.sha256
    write(shop, other_csv="another\n")
    assert sent(shop).sha256 == changed.sha256


@pytest.mark.parametrize(
    "where",
    [
        'Path(__file__).parent / "data" / "ref.csv"',
        'Path(__file__).with_name("data") / "ref.csv"',
        'os.path.join(os.path.dirname(__file__), "data", "ref.csv")',
        'Path(__file__).parent / "data/ref.csv"',
    ],
)
def test_table_in_a_folder_beside_the_rules_is_found_however_it_is_named(shop: Path, where: str) -> None:
    text = TABLE.replace('Path(__file__).parent / "ref.csv"', where).replace(
        "import pandas", "import os\nimport pandas"
    )
    write(shop, rules_py=text, data__ref_csv="product\nkettle\n")
    if "with_name" in where:  # each part stands alone, and none of them names the file
        with pytest.raises(ConfigError, match="can't be imported: FileNotFoundError.*those whose names stand in it as"):
            sent(shop)
    else:
        assert rejected(sent(shop)) == {"unknown": [True, False]}


def test_rules_import_their_neighbours_and_these_theirs(shop: Path) -> None:
    write(
        shop,
        rules_py="import limits\nfrom kit.checks import many\nfrom words import *\n\n"
        "def large(orders):\n    'Large.'\n    import late\n"
        "    return many(orders, limits.MOST) & late.always(orders) & starred(orders)\n",
        limits_py="from pathlib import Path\nMOST = int((Path(__file__).parent / 'most.txt').read_text())\n",
        most_txt="10",
        late_py="def always(orders):\n    return orders['quantity'] > 0\n",
        words_py="def starred(orders):\n    return orders['quantity'] > 0\n",
        kit__checks_py="from .low import over\nfrom . import low\n\n"
        "def many(orders, most):\n    return over(orders, most) & low.over(orders, most)\n",
        kit__low_py="def over(orders, most):\n    return orders['quantity'] > most\n",
    )
    rules = sent(shop)
    assert rejected(rules) == {"large": [False, True]}
    names = ["kit/checks.py", "kit/low.py", "late.py", "limits.py", "most.txt", "words.py"]
    assert [name for name, _ in rules.beside.files] == names
    assert not {"limits", "kit", "late", "words"} & sys.modules.keys()


def test_rules_of_two_folders_keep_to_their_own_neighbours(tmp_path: Path) -> None:
    found = []
    for most in (0, 10, 100):
        folder = tmp_path / f"shop{most}"
        folder.mkdir()
        write(folder, rules_py="def large(orders):\n    'Large.'\n    import limits\n    return limits.over(orders)\n")
        write(folder, limits_py=f"def over(orders):\n    return orders['quantity'] > {most}\n")
        found.append(sent(folder))
    assert [rejected(rules)["large"] for rules in found] == [[True, True], [False, True], [False, False]]


def test_installed_module_is_imported_though_a_file_beside_the_rules_has_its_name(shop: Path) -> None:
    write(
        shop, rules_py="import json\n\ndef none(orders):\n    'None.'\n    return [json.loads('false')] * len(orders)\n"
    )
    alone = sent(shop)
    write(shop, json_py="raise SystemExit")
    assert sent(shop) == alone
    assert rejected(alone) == {"none": [False, False]}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            {"rules_py": "import nothing_here\n"},
            "rules.py, line 1, can't be imported: ModuleNotFoundError: No module nam",
        ),
        ({"rules_py": "import a\n", "a_py": "import a.b\n"}, "line 1, can't be imported: ModuleNotFoundError"),
        ({"rules_py": "import a\n", "a_py": "1 +\n"}, "rules.py.* can't be imported: SyntaxError"),
        ({"rules_py": "from .a import b\n", "a_py": "b = 1\n"}, "can't be imported: ImportError"),
        (
            {"rules_py": "from a import today\n", "a_py": "from datetime import date\n\nDAY = date.today()\n"},
            "asks the clock .* in line 3",
        ),
        (
            {"rules_py": "from a import *\n", "a_py": "import daskjobs\n\n@daskjobs.rule('x')\ndef b(orders): 0\n"},
            "imports b, which is marked as a rule",
        ),
    ],
)
def test_neighbour_that_fails_is_a_sentence(shop: Path, texts: dict[str, str], words: str) -> None:
    write(shop, **texts)
    with pytest.raises(ConfigError, match=words) as raised:
        sent(shop)
    assert "\n" not in str(raised.value)


def test_rules_that_would_take_too_much_along_are_a_sentence(shop: Path) -> None:
    write(shop, rules_py=TABLE, ref_csv="product\n" + "kettle\n" * 700_000)
    with pytest.raises(ConfigError, match="names files beside it of more than 4 MiB.*: install them as a package, or"):
        sent(shop)


def test_rules_that_name_no_file_take_nothing_along(shop: Path) -> None:
    text = "KNOWN = 'ref.csv'\n\ndef large(orders):\n    'Large.'\n    return orders['quantity'] > 1\n"
    write(shop, rules_py=text, ref_csv="product\n")
    rules = sent(shop)
    assert rules.beside.files == ()
    assert not hasattr(sys.modules[rules.own["large"].__module__], "__file__")


def test_rules_in_a_store_bring_their_neighbours_from_there(tmp_path: Path, s3: str) -> None:
    import fsspec

    fs, folder = fsspec.filesystem("s3"), f"{s3}/{tmp_path.name}"
    fs.pipe_file(f"{folder}/rules.py", TABLE.encode())
    fs.pipe_file(f"{folder}/ref.csv", b"product\nkettle\n")
    rules = read_rules(Storage(str(tmp_path)), f"{folder}/rules.py")
    assert rejected(rules) == {"unknown": [True, False]}


def test_run_is_done_again_when_a_table_beside_its_rules_changes(shop: Path, tmp_path: Path) -> None:
    write(shop, rules_py=TABLE, ref_csv="product\nlamp\n")
    (tmp_path / "o.csv").write_bytes(csv_text(row(), row(product="kettle")))

    def revenue() -> bytes:
        return inline.run(tmp_path / "run", f"{tmp_path}/o.csv", rules=f"{shop}/rules.py")[
            "report/analytics_report.json"
        ]

    assert revenue() == b'{"orders": 1, "revenue": 21.00}\n'
    write(shop, ref_csv="product\nlamp\nkettle\n")
    assert revenue() == b'{"orders": 2, "revenue": 42.00}\n'
    made = (tmp_path / "run/validate/manifest.json").read_bytes()
    assert revenue() == b'{"orders": 2, "revenue": 42.00}\n'
    assert (tmp_path / "run/validate/manifest.json").read_bytes() == made
    shutil.rmtree(tmp_path / "run/report")
    os.utime(shop / "ref.csv", (1, 1))
    assert revenue() == b'{"orders": 2, "revenue": 42.00}\n'
