"""Profiles are read from TOML: what makes no sense is one sentence, with the key and its line."""

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from daskjobs.errors import ConfigError, UsageError
from daskjobs.files.storage import Storage
from daskjobs.orders.profiles import Column, FileForm, Furniture, OrderForm, ValueForm, reading
from daskjobs.orders.profiles.keys import KEYS
from daskjobs.orders.profiles.positions import line_of
from daskjobs.orders.profiles.reading import about, merged, parse_profile, presets, read_profile
from daskjobs.orders.schema import COLUMNS, STATUSES

FIRST = """
[file]
delimiter = ";"
encoding = {"a*.csv" = "cp1252", "*" = ["utf-8", "cp1252"]}
header = ["id", "item"]
nulls = ['\\N', "NULL"]

[columns]
order_id = "Bestellnummer"
price = ["Preis", "Einzelpreis"]
region = {constant = "EU"}
payment_mode = {absent = true}
product = {column = "Artikel", empty = "?"}
timestamp = {join = ["Tag", "Zeit"]}

[values]
decimal = ","
thousands = "."
currency = "€"
timestamp = ["%d.%m.%Y %H:%M"]
zone = "Europe/Berlin"

[status]
success = ["bezahlt", "Completed, shipped", ""]
failed = "*"

[order]
rows = "line"
fill_down = ["order_id", "total"]
total = ["Subtotal", "+Shipping", "-Discount"]
returns = "subtract"
currency = "Currency"
report_currency = "eur"
without_rules = ["wrong_total"]

[furniture]
lines = ["^-+$"]
where = {Type = "Payout"}
"""


def test_profile_says_what_its_file_says() -> None:
    profile = parse_profile(FIRST, "shop.toml")
    assert profile.file == FileForm(
        delimiter=";",
        encodings=[("a*.csv", ["cp1252"]), ("*", ["utf-8", "cp1252"])],
        header=["id", "item"],
        nulls=["\\N", "NULL"],
    )
    assert profile.columns == {
        "order_id": Column(names=["Bestellnummer"]),
        "price": Column(names=["Preis", "Einzelpreis"]),
        "region": Column(constant="EU"),
        "payment_mode": Column(absent=True),
        "product": Column(names=["Artikel"], empty="?"),
        "timestamp": Column(join=["Tag", "Zeit"]),
    }
    assert profile.values == ValueForm(
        decimal=",", thousands=["."], currency=["€"], timestamp=["%d.%m.%Y %H:%M"], zone="Europe/Berlin"
    )
    assert profile.status == {"bezahlt": "success", "Completed, shipped": "success", "": "success", "*": "failed"}
    assert profile.order == OrderForm(
        rows="line",
        fill_down=["order_id", "total"],
        total=["Subtotal", "+Shipping", "-Discount"],
        returns="subtract",
        currency="Currency",
        report_currency="EUR",
        without_rules=["wrong_total"],
    )
    assert profile.furniture == Furniture(lines=["^-+$"], where=[{"Type": ["Payout"]}])


def test_hash_is_of_what_a_profile_says_and_not_of_its_name_or_comments() -> None:
    one = parse_profile(FIRST, "shop.toml")
    assert parse_profile(f"# Mine.\n{FIRST}", "other.toml").sha256 == one.sha256
    assert parse_profile(FIRST.replace('"EU"', '"US"'), "shop.toml").sha256 != one.sha256


def test_keys_are_those_of_the_dataclasses() -> None:
    shapes = {"file": FileForm, "values": ValueForm, "order": OrderForm, "furniture": Furniture}
    named = {name: {each.name for each in fields(shape)} for name, shape in shapes.items()}
    named["file"] = named["file"] - {"encodings"} | {"encoding"}
    assert {name: {*KEYS[name]} for name in shapes} == named
    assert [*KEYS["columns"]] == [*COLUMNS]
    assert [*KEYS["status"]] == [*STATUSES]


WRONG = [
    # sections and keys
    ('[fiel]\ndelimiter = ";"', 1, "there is no section [fiel]: did you mean 'file'?"),
    ('# Mine.\ndelimiter = ";"', 2, "delimiter stands in no section: put it below [file]"),
    ("file = 3", 1, "file must be a section, [file] on a line of its own, got 3"),
    ('[file]\n\ndelimeter = ";"', 3, "[file] has no key 'delimeter': did you mean 'delimiter'?"),
    ('[file]\nzone = "UTC"', 2, "[file] has no key 'zone': it stands below [values]"),
    ('[columns]\nprise = "x"', 2, "[columns] has 'prise', which is none of our columns: did you mean 'price'?"),
    ('[status]\nsucces = "x"', 2, "[status] has 'succes', which is none of our statuses: did you mean 'success'?"),
    ('[status]\nbezahlt = "success"', 2, 'none of our statuses: there are success, failed, pending, cancelled, '
     'refunded; write success = ["bezahlt"]'),
    ("", 1, "it says nothing: `daskjobs profile show NAME` prints a preset to begin with"),
    # TOML
    ("[file]\ndelimiter = ;", 2, "it is no TOML: invalid value (a text stands in quotes)"),
    ('[file]\ndelimiter = ";"\ndelimiter = ","', 3, "it says something twice: cannot overwrite a value"),
    ('[file]\nnulls = ["\\N"]', 2, "it is no TOML: unescaped '\\' in a string"),
    ("[file]\ndelimiter", 2, "it is no TOML: expected '=' after a key"),
    # [file]
    ('[file]\ndelimiter = ";;"', 2, "[file] delimiter must be one character like ';' or '|', or the word 'tab',"),
    ("[file]\ndelimiter = 7", 2, "[file] delimiter must be one character like ';' or '|', or the word 'tab', got 7"),
    ('[file]\nquoting = "double"', 2, "quoting must be 'rfc4180', 'none', 'backslash' or 'spark', got 'double'"),
    ('[file]\nquote = "ab"', 2, """quote must be one character like '"' or "'", or an empty text where nothing is"""),
    ('[file]\nquoting = "none"\nquote = "x"', 3, '[file] quote means nothing with quoting = "none"'),
    ('[file]\nquote = ";"\ndelimiter = ";"', 3, "[file] delimiter is the quote, too"),
    ('[file]\nencoding = "cp1525"', 2, "encoding must be text encodings that Python knows, like 'cp1252' or "),
    ('[file]\nencoding = [\n"utf-8",\n"utf-9",\n]', 4, "got 'utf-9'"),
    ('[file]\nencoding = ["cp1252", "utf-8"]', 2, "has 'cp1252', which also fits files that are 'utf-8': put"),
    ('[file]\nencoding = ["latin-1", "cp1250"]', 2, "has 'latin-1', which also fits files that are 'cp1250'"),
    ('[file]\nencoding = {"*" = "utf-8", "a*" = "cp1252"}', 2, "has '*' before other patterns, which it leaves no"),
    ('[file]\nheader = ["a", "b", "a"]', 2, "[file] header has 'a' twice: give each column a name of its own"),
    ('[file]\nheader = "a,b"', 2, "header must be a list of names, each in quotes, one for each column, got 'a,b'"),
    ("[file]\nskip_lines = true", 2, "skip_lines must be a whole number from 0 to 1,000,000, got true"),
    ("[file]\nfooter_lines = -1", 2, "footer_lines must be a whole number from 0 to 1,000,000, got -1"),
    ('[file]\nnulls = ["NULL", 0]', 2, "nulls must be a text in quotes, or a list of them, got 0"),
    # [columns]
    ('[columns]\nregion = {constant = "EU", column = "R"}', 2, "[columns] region must say once where its values come "
     "from (column, constant, absent, sum, join, computed), got constant and column"),
    ('[columns.region]\nempty = "EU"', 1, "[columns] region must say once where its values come from"),
    ('[columns]\nregion = {const = "EU"}', 2, "[columns] region has 'const': did you mean 'constant'?"),
    ("[columns]\nregion = {constant = 1}", 2, "[columns] region constant must be a text in quotes, got 1"),
    ('[columns]\nregion = {constant = "EU", empty = "x"}', 2, "[columns] region has empty beside constant"),
    ("[columns]\nregion = []", 2, "[columns] region must have at least one text, got an empty list"),
    ('[columns]\nregion = ["a", "a"]', 2, "[columns] region has 'a' twice: give it once"),
    ("[columns]\nprice = {absent = true}", 2, "[columns] price can't be absent: only user_id, region, product, "
     "payment_mode may be left out"),
    ("[columns]\nregion = {absent = false}", 2, "[columns] region absent must be true, or be left out, got false"),
    ('[columns]\norder_id = {constant = "1"}', 2, "[columns] order_id can't be constant: each order has an id"),
    ("[columns]\nprice = {computed = true}", 2, "price can't be computed: only total_amount is quantity times price"),
    ('[columns]\nregion = {sum = ["a"]}', 2, "[columns] region can't be sum: only price and total_amount are amounts"),
    ('[columns]\nprice = {sum = ["a", "-a"]}', 2, "[columns] price sum has 'a' twice: give it once"),
    ('[columns]\nprice = {sum = ["-"]}', 2, "each with + or - before it or none, got a sign alone"),
    ('[columns]\ntimestamp = {join = "Date"}', 2, 'timestamp join must be a list of two names or more, like ["Date", '),
    ('[columns]\ntotal_amount = {computed = true}\n[order]\nprice = "line"', 4, "[order] price is of the whole line, "
     "and [columns] total_amount is computed as quantity times price: leave one of them out, or give total_amount the"),
    ('[columns]\nstatus = {constant = "ok"}', 2, "[columns] status is 'ok' in each row, which is none of ours and not"),
    # [values]
    ('[values]\ndecimal = ";"', 2, "[values] decimal must be '.' or ',', got ';'"),
    ('[values]\nthousands = ["."]', 2, "[values] thousands has '.', which is the decimal sign"),
    ('[values]\ndecimal = ","\nthousands = ","', 3, "[values] thousands has ',', which is the decimal sign"),
    ('[values]\nthousands = "00"', 2, "thousands must be single characters like '.' or ' ', got '00'"),
    ('[values]\ncurrency = "-"', 2, "currency must be signs or codes like '€' or 'EUR', got '-'"),
    ('[values]\nparentheses = "yes"', 2, "[values] parentheses must be true or false, got 'yes'"),
    ('[values]\nzone = "Europe/Berln"', 2, "zone must be a zone of tzdata, got 'Europe/Berln': did you mean "
     "'Europe/Berlin'?"),
    ('[values]\nzone = "../UTC"', 2, "zone must be a zone of tzdata, got '../UTC'"),
    ('[values]\nhour_twice = "first"', 2, "[values] hour_twice means nothing without zone"),
    ('[values]\nids = "trim"', 2, "[values] ids must be 'exact', 'trimmed' or 'visible', got 'trim'"),
    # [order]
    ('[order]\nrows = "lines"', 2, "[order] rows must be 'order' or 'line', got 'lines'"),
    ("[order]\nfill_down = true", 2, '[order] fill_down is for lines of orders: say rows = "line"'),
    ('[order]\nrows = "line"\nfill_down = "total"', 3, "fill_down has 'total', and [order] doesn't say total"),
    ('[order]\nrows = "line"\nfill_down = ["price"]', 3, "fill_down has 'price', which is of each line: only order_id"),
    ('[order]\nrows = "line"\nfill_down = ["regoin"]', 3, "fill_down must be true, or names of ours, got 'regoin': did "
     "you mean 'region'?"),
    ('[order]\nrejects = "order"', 2, '[order] rejects is for lines of orders: say rows = "line"'),
    ('[order]\ntotal = "T"\n[columns]\ntotal_amount = "T"', 2, "total and [columns] total_amount both say what the"),
    ('[order]\ntotal = ["T", "-R"]\nrefunds = "R"', 3, "refunds is 'R', which total has as well, so that it would "),
    ('[order]\nreport_currency = "EUR"', 2, "report_currency needs currency: the name of the column of currencies"),
    ("[order]\ntolerance = 0.5", 2, "[order] tolerance must be a whole number from 0 to 1,000,000, got 0.5"),
    ('[order]\nwithout_rules = ["wrong_totals"]', 2, "names of built-in rules, got 'wrong_totals': did you mean "
     "'wrong_total'?"),
    ('[order]\nwithout_rules = ["unreadable_timestamp"]', 2, "has 'unreadable_timestamp', which can't be left out"),
    # [status]
    ('[status]\nsuccess = "paid"\nfailed = [\n"no",\n"paid",\n]', 5, "[status] failed has 'paid', which success has as "
     "well: a text can stand for only one of ours"),
    ('[status]\nsuccess = "*"\nfailed = "*"', 3, "[status] failed has '*', which success has as well"),
    # [furniture]
    ('[furniture]\nlines = ["("]', 2, "lines '(' is no regular expression of RE2: missing ): ("),
    ('[furniture]\nlines = ["x(?=y)"]', 2, "lines 'x(?=y)' is no regular expression of RE2"),
    ('[furniture]\nlines = ["^--", ".*"]', 2, "lines '.*' is found in each row, so that none would be left"),
    ('[furniture]\nwhere = ["Payout"]', 2, 'where must be tables like {Type = ["Payout"]}, of columns and their texts'),
    ("[furniture]\n[[furniture.where]]\nType = 1", 2, "where Type must be a text in quotes, or a list of them, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[f"{text!r:.60}" for text, *_ in WRONG])
def test_bad_profile_is_one_sentence_with_the_key_and_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_profile(text, "shop.toml")
    said = str(raised.value)
    assert said.startswith(f"the profile shop.toml, line {line}: ")
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("formats", "words"),
    [
        ('["%d/%m/%Y", "iso", "%m/%d/%Y"]', "'%d/%m/%Y' and '%m/%d/%Y' may both be meant by 03/04/2025, as different"),
        ('["iso", "%Y-%d-%m"]', "'iso' and '%Y-%d-%m' may both be meant by 2025-04-03"),
        ('["%d.%m.%y", "%y.%m.%d"]', "may both be meant by 03.04.25"),
        ('["unix", "%Y%m%d"]', "'unix' and '%Y%m%d' may both be meant by 20250403"),
        ('"%F %T"', "has %F, which is none of strptime's that can be used here: write %Y-%m-%d"),
        ('"%Y-%m-%d %q"', "has %q, which is none of strptime's that can be used here; it may have %a, "),
        ('"%Y-%m-%d %"', "has %, which is none of strptime's"),
        ('"dd.MM.yyyy"', "has no %: formats are those of strptime, like '%d.%m.%Y %H:%M', or 'iso' or 'unix'"),
        ('"%H:%M"', "doesn't say a year, a month and a day"),
        ('"%Y-%m-%d %I:%M"', "has %I, hours up to twelve, without %p"),
        ('"%d.%m.%Y %d"', "has %d twice"),
        ('["iso", "iso"]', "has 'iso' twice: give it once"),
        ("[]", "must have at least one text"),
    ],
)
def test_formats_of_timestamps_are_refused_when_they_say_no_moment_or_two(formats: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_profile(f"[values]\ntimestamp = {formats}", "shop.toml")
    assert str(raised.value).startswith("the profile shop.toml, line 2: [values] timestamp ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "formats",
    [
        ["%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%y"],
        ["iso", "unix"],
        ["%d-%b-%y", "iso", "%m/%d/%Y"],
        ["%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M %p"],
        ["%b %d, %Y %H:%M:%S %p", "%b %d, %Y %I:%M:%S %p"],  # 17:30:00 PM, and 05:30:00 PM: Magento's two ways
        ["%Y-%m-%d %H:%M:%S %z", "iso"],
        ["%Y-%j"],
    ],
)
def test_formats_that_no_text_can_be_meant_by_together_stand_side_by_side(formats: list[str]) -> None:
    assert parse_profile(f"[values]\ntimestamp = {formats!r}", "shop.toml").values.timestamp == formats


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("file",), 2),
        (("file", "nulls"), 4),
        (("file", "nulls", "NULL"), 6),
        (("file", "quote"), 9),
        (("columns", "region"), 12),
        (("columns", "order_id"), 13),
        (("furniture", "where", "Kind"), 17),
        (("values", "zone"), 18),
        (("values", "nothing"), 18),
        (("nothing",), 1),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_of_a_key_is_found_wherever_toml_lets_it_stand(path: tuple[str, ...], line: int, end: str) -> None:
    lines = [
        "# [columns]",
        "[file]  # quote = 1",
        "",
        "nulls = [",
        '  "a", # quote = 2',
        '  "NULL",',
        "]",
        "# quote = 3",
        '"quote" = """x',
        'zone = 4"""',
        "[columns]",
        'region = {constant = "EU"}',
        "'order_id' = 'B'",
        "[[furniture.where]]",
        'A = "b"',
        "[[furniture.where]]",
        'Kind = ["d"]',
        "[values]",
    ]
    assert line_of(end.join(lines), path) == line


def test_line_of_a_key_is_found_at_once_in_a_long_list() -> None:
    text = "[status]\nsuccess = [\n" + '"x",\n' * 30_000 + ']\nfailed = "y"\n'
    assert line_of(text, ("status", "failed")) == 30_004


def read(where: object) -> None:
    read_profile(Storage("."), str(where))


def test_file_that_is_no_profile_is_a_sentence(tmp_path: Path) -> None:
    files = {
        "none.toml": (None, "--profile can't be read: could not read .*none.toml: it is not there; give a preset, or"),
        "folder.toml": ("", "--profile .*folder.toml is a folder: give the TOML file in it"),
        "empty.toml": (b"", "empty.toml, line 1: it says nothing"),
        "latin.toml": (b'[file]\n# f\xfcr\n', "latin.toml, line 2: it is not UTF-8; save it as UTF-8"),
        "large.toml": (b"#" * (300 << 10), "large.toml is larger than 256 KiB, so it is no profile: check its name"),
        "mine.json": (b'{"file": {"delimiter": ";"}}', "mine.json looks like JSON, and a profile is TOML: .file., "),
        "mine.toml": (b'{"file": {"delimiter": ";"}}', "mine.toml looks like JSON, and a profile is TOML"),
        "mine.yaml": (b"file:\n  delimiter: ';'", "mine.yaml looks like YAML, and a profile is TOML"),
        "orders.csv": (b"order_id,price\n1,2\n", "orders.csv looks like CSV, and a profile is TOML"),
    }  # fmt: skip
    for name, (content, words) in files.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=words):
            read(tmp_path / name)


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match="^--profile .*pipe.toml is a pipe or a device: give a TOML file$"):
        read(tmp_path / "pipe.toml")


def test_profile_has_a_byte_order_mark_or_a_file_uri_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my shop.toml"
    path.write_bytes(b'\xef\xbb\xbf[file]\r\ndelimiter = ";"\r\n')
    monkeypatch.chdir(tmp_path)
    found = [
        read_profile(Storage("."), where) for where in (str(path), "my shop.toml", f"file://{tmp_path}/my%20shop.toml")
    ]
    assert {each.file.delimiter for each in found} == {";"}
    assert len({each.sha256 for each in found}) == 1


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets in place of the package's."""
    folder = tmp_path / "presets"
    folder.mkdir()
    for name in ("shopify", "excel-de", "excel-fr"):
        (folder / f"{name}.toml").write_text(f'# Files of {name}. They are so.\n[file]\ndelimiter = ";"\n')
    monkeypatch.setattr(reading, "PRESETS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [("shopfy", "did you mean shopify\\? `daskjobs profile list`"), ("Excel", "did you mean excel-fr or excel-de\\?"),
     ("zzz", "'zzz' is neither a preset nor a file: `daskjobs profile list` names all of them; the path of a file")],
)  # fmt: skip
@pytest.mark.usefixtures("shops")
def test_name_that_is_no_preset_names_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(name)


def test_preset_is_read_by_its_name_and_a_file_of_that_name_by_its_path(shops: Path) -> None:
    (shops.parent / "shopify").write_text('[file]\ndelimiter = "|"\n')
    (shops.parent / "mine").write_text('[file]\ndelimiter = "~"\n')
    found = {where: read_profile(Storage("."), where).file.delimiter for where in ("shopify", "./shopify", "mine")}
    assert found == {"shopify": ";", "./shopify": "|", "mine": "~"}


def test_first_sentence_of_a_preset_tells_what_it_is_for() -> None:
    assert about("# Orders of a shop,\n# by line. More.\n[file]\n# Other.") == "Orders of a shop, by line."
    assert about("[file]") == ""


@pytest.mark.parametrize("name", presets())
def test_preset_is_a_profile_with_a_sentence_about_it(name: str) -> None:
    assert about(presets()[name])
    assert parse_profile(presets()[name], name).name == name


def test_options_win_over_a_profile() -> None:
    profile = parse_profile(FIRST, "shop.toml")
    other = merged(
        profile,
        delimiter="tab",
        quoting="none",
        encoding="latin-1",
        columns="price=Cost",
        statuses="failed=bezahlt,success=ok",
        currency="usd",
    )
    assert (other.file.delimiter, other.file.quoting, other.file.encodings) == ("\t", "none", [("*", ["latin-1"])])
    assert other.columns == profile.columns | {"price": Column(names=["Cost"])}
    assert other.status == profile.status | {"bezahlt": "failed", "ok": "success"}
    assert other.order.report_currency == "USD"
    assert other.sha256 != profile.sha256
    assert merged(profile) == profile


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ('[file]\nquote = "|"', {"delimiter": "|"}, r"^--delimiter '\|' is the quote of the profile shop.toml, too"),
        ("[file]", {"currency": "EUR"}, 'profile shop.toml names none: say currency = "…" below its .order.'),
        (
            '[order]\ntotal = "T"',
            {"columns": "total_amount=X"},
            "^--columns says which column total_amount is, and the",
        ),
    ],
)
def test_option_that_contradicts_a_profile_is_a_usage_error(text: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        merged(parse_profile(text, "shop.toml"), **options)


def test_docs_have_a_row_for_each_key() -> None:
    page = (Path(__file__).parents[4] / "docs/orders.md").read_text()
    table = page.partition("\n## A profile\n")[2].partition("\n## ")[0]
    found, section = dict[str, list[str]](), ""
    for first, second in re.findall(r"^\| (?:`\[(\w+)\]` )?\| (`.*?`) \| ", table, re.M):
        section = first or section
        found.setdefault(section, []).extend(re.findall(r"`(\w+)`", second))
    assert found.pop("columns") == [COLUMNS[0], COLUMNS[-1]]
    assert found == {name: [*keys] for name, keys in KEYS.items() if name != "columns"}
