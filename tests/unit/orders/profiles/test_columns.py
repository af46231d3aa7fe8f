from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from daskjobs.errors import InputError
from daskjobs.orders.profiles import Column, FileForm, Furniture, OrderForm, Profile, ValueForm
from daskjobs.orders.profiles.columns import (
    arranged,
    extra_names,
    needed,
    order_ids,
    raw_names,
)
from daskjobs.orders.schema import COLUMNS, orders_schema

ROW = {
    "order_id": "K1",
    "user_id": "u1",
    "region": "west",
    "product": "mug",
    "quantity": "2",
    "price": "7.25",
    "total_amount": "14.50",
    "payment_mode": "card",
    "status": "success",
    "timestamp": "2025-04-02 09:30:00",
}
PLAIN = Profile("shop.toml")


def texts(rows: list[dict[str, str]], without: tuple[str, ...] = ()) -> pa.Table:
    rows = [{name: text for name, text in (ROW | row).items() if name not in without} for row in rows]
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in rows[0]})


def having(**columns: Column) -> Profile:
    return replace(PLAIN, columns=columns)


def read(profile: Profile, ours: str, *rows: dict[str, str]) -> list[object]:
    found: list[object] = arranged(texts(list(rows)), profile, []).orders[ours].to_pylist()
    return found


def money(*amounts: str | None) -> list[Decimal | None]:
    return [None if each is None else Decimal(each) for each in amounts]


def test_table_has_our_types_when_the_profile_says_nothing() -> None:
    orders = arranged(texts([{}]), PLAIN, []).orders
    assert orders.schema == orders_schema([])
    assert orders.to_pylist() == [
        ROW | {"quantity": 2, "price": Decimal("7.25"), "total_amount": Decimal("14.50"),
               "timestamp": datetime(2025, 4, 2, 9, 30)}
    ]  # fmt: skip


def test_first_of_several_names_is_taken_when_a_file_has_it() -> None:
    profile = having(price=Column(names=["Preis", "Einzelpreis"]))
    assert read(profile, "price", {"Preis": "1.00", "Einzelpreis": "2.00"}) == money("1.00")
    assert read(profile, "price", {"Einzelpreis": "2.00"}) == money("2.00")


def test_one_column_stands_for_two_of_ours_when_the_profile_names_it_twice() -> None:
    amount = Column(names=["Amount"])
    profile = having(price=amount, total_amount=amount, quantity=Column(constant="1"))
    orders = arranged(texts([{"Amount": "15.00"}], ("price", "total_amount", "quantity")), profile, []).orders
    assert orders.column_names == list(COLUMNS)
    assert [orders[name][0].as_py() for name in ("quantity", "price", "total_amount")] == [1, *money("15", "15")]


def test_column_is_constant_or_empty_when_the_file_has_none() -> None:
    profile = having(region=Column(constant="EU"), payment_mode=Column(absent=True))
    orders = arranged(texts([{}, {}], ("region", "payment_mode")), profile, []).orders
    assert (orders["region"].to_pylist(), orders["payment_mode"].to_pylist()) == (["EU", "EU"], ["", ""])


def test_sum_adds_amounts_with_their_signs_when_cells_are_full_or_some_are_empty() -> None:
    profile = having(total_amount=Column(sum=["Subtotal", "+Shipping", "-Discount"]))
    rows = [("20.00", "6.10", "1.50"), ("20.00", "", " "), ("", "", "3.00"), ("", "", ""), ("20.00", "x", "1"),
            ("-5.00", "0", "-.50"), ("9999999999999999.99", "0.01", "0.01"),
            ("9999999999999999.99", "0.01", "")]  # fmt: skip
    given = [dict(zip(("Subtotal", "Shipping", "Discount"), row, strict=True)) for row in rows]
    assert read(profile, "total_amount", *given) == money(
        "24.60", "20.00", "-3.00", None, None, "-4.50", "9999999999999999.99", None
    )


def test_sum_is_null_when_it_would_not_fit_in_64_bits() -> None:
    names = [f"c{number}" for number in range(20)]
    profile = having(total_amount=Column(sum=names))
    assert read(profile, "total_amount", dict.fromkeys(names, "9999999999999999.99")) == [None]


def test_sum_is_written_as_the_profile_says() -> None:
    profile = replace(having(price=Column(sum=["Net", "Tax"])), values=ValueForm(decimal=",", currency=["€"]))
    assert read(profile, "price", {"Net": "1,50 €", "Tax": "0,25"}) == money("1.75")


def test_join_puts_a_blank_between_texts_when_none_is_empty() -> None:
    profile = having(timestamp=Column(join=["Date", "Time"]), region=Column(join=["Land", "Stadt", "Ort"]))
    rows = [{"Date": "2025-04-02", "Time": "09:30", "Land": "A", "Stadt": "", "Ort": "C"},
            {"Date": "2025-04-02", "Time": " ", "Land": " A ", "Stadt": "B", "Ort": ""}]  # fmt: skip
    orders = arranged(texts(rows), profile, []).orders
    assert orders["timestamp"].to_pylist() == [datetime(2025, 4, 2, 9, 30), datetime(2025, 4, 2)]
    assert orders["region"].to_pylist() == ["A C", "A B"]


def test_total_is_quantity_times_price_when_it_is_computed() -> None:
    profile = having(total_amount=Column(computed=True))
    rows = [("3", "7.25"), ("-2", ".50"), ("x", "1"), ("1", "x"), ("999999999", "9999999999999999.99"),
            ("10", "999999999999999.99"), ("11", "999999999999999.99")]  # fmt: skip
    given = [{"quantity": quantity, "price": price} for quantity, price in rows]
    assert read(profile, "total_amount", *given) == money(
        "21.75", "-1.00", None, None, None, "9999999999999999.90", None
    )


def test_empty_cell_has_the_value_that_the_profile_says() -> None:
    profile = having(quantity=Column(names=["Qty"], empty="1"), status=Column(names=["status"], empty="pending"))
    rows = [{"Qty": "3"}, {"Qty": "", "status": " "}, {"Qty": " \t"}, {"Qty": "x"}]
    assert read(profile, "quantity", *rows) == [3, 1, 1, None]
    assert read(profile, "status", *rows) == ["success", "pending", "success", "success"]


def test_total_is_that_of_the_order_when_the_profile_names_it() -> None:
    profile = replace(PLAIN, order=OrderForm(rows="line", total=["Total"]))
    assert read(profile, "total_amount", {"Total": "99.00"}, {"Total": ""}) == money("99.00", None)
    profile = replace(PLAIN, order=OrderForm(rows="line", total=["Subtotal", "+Shipping", "-Discount"]))
    given = {"Subtotal": "10.00", "Shipping": "2.50", "Discount": "1"}
    without = texts([given], ("total_amount",))
    assert raw_names(without.column_names, profile, "o.csv") == without.column_names
    assert arranged(without, profile, []).orders["total_amount"].to_pylist() == money("11.50")


def test_refund_is_its_absolute_amount_and_null_when_it_is_unreadable() -> None:
    profile = replace(PLAIN, order=OrderForm(refunds="Refunded"))
    rows = [{"Refunded": each} for each in ("2.50", "-2.50", "", " ", "x", "0")]
    found = arranged(texts(rows), profile, [])
    assert found.refunds is not None
    assert found.refunds.to_pylist() == money("2.50", "2.50", "0", "0", None, "0")
    assert found.orders["total_amount"].to_pylist() == money(*["14.50"] * 6)


def test_currencies_are_codes_in_upper_case() -> None:
    profile = replace(PLAIN, order=OrderForm(currency="Currency"))
    found = arranged(texts([{"Currency": each} for each in ("usd", " EUR\u00a0", "")]), profile, [])
    assert found.currencies is not None
    assert found.currencies.to_pylist() == ["USD", "EUR", ""]
    assert arranged(texts([{}]), PLAIN, []).currencies is None


def test_keys_join_columns_of_ours_and_of_the_file() -> None:
    form = ValueForm(ids="trimmed")
    profile = replace(having(order_id=Column(names=["Nr"])), order=OrderForm(rows="line", key=["order_id", "Line"]))
    rows = texts([{"Nr": "A\u00a0", "Line": "1"}, {"Nr": "A", "Line": " 2"}])
    found = arranged(rows, replace(profile, values=form), [])
    assert found.keys is not None
    assert found.keys.to_pylist() == ["A\x1f1", "A\x1f2"]
    assert order_ids(rows, replace(profile, values=form)).to_pylist() == ["A", "A"]
    alone = replace(PLAIN, order=OrderForm(rows="line", key=["Line"]))
    assert arranged(rows, alone, []).keys == pa.array(["1", "2"])


def test_keys_are_the_same_only_where_all_their_parts_are() -> None:
    parts = [("a\x1fb", "c"), ("a", "b\x1fc"), ("a\x1e", "c"), ("a\x1e0", "c"), ("a\x1e1", "c"), ("a\x1f", "c")]
    profile = replace(PLAIN, order=OrderForm(rows="line", key=["x", "y"]))
    rows = texts([{"x": x, "y": y} for x, y in parts])
    keys = arranged(rows, profile, []).keys
    assert keys is not None
    assert len(set(keys.to_pylist())) == len(parts)
    alike = [arranged(rows.slice(at, 1), profile, []).keys for at in range(len(parts))]
    assert [each.to_pylist() for each in alike if each is not None] == [[each] for each in keys.to_pylist()]


def test_status_is_ours_when_the_profile_maps_it_or_all_others() -> None:
    rows = [{"status": each} for each in ("Completed, shipped", " Completed, shipped ", "", "success", "Draft", "*")]
    some = {"Completed, shipped": "success", "": "success"}
    assert read(replace(PLAIN, status=some), "status", *rows) == ["success"] * 4 + ["Draft", "*"]
    others = some | {"*": "cancelled"}
    assert read(replace(PLAIN, status=others), "status", *rows) == ["success"] * 3 + ["cancelled"] * 3
    assert read(replace(PLAIN, status={"*": "success"}), "status", *rows) == ["success"] * 6
    constant = replace(having(status=Column(constant="success")), status={"*": "cancelled"})
    assert read(constant, "status", {}) == ["success"]


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("ok", {"ok": "success"}, "success"),
        ("ok", {"*": "cancelled"}, "cancelled"),
        ("ok", {"ok": "success", "*": "cancelled"}, "success"),
        ("", {"": "success"}, "success"),
        ("success", {"ok": "success", "*": "cancelled"}, "success"),
        ("success", {"success": "refunded"}, "refunded"),
        ("pending", {}, "pending"),
    ],
)
def test_constant_status_is_what_the_profile_maps_it_to_or_ours(
    text: str, status: dict[str, str], expected: str
) -> None:
    assert read(replace(having(status=Column(constant=text)), status=status), "status", {}) == [expected]


def test_missing_columns_are_one_sentence_when_a_profile_needs_them() -> None:
    profile = replace(
        having(
            price=Column(names=["Preis", "Einzelpreis"]),
            timestamp=Column(join=["Datum", "Zeit"]),
            region=Column(constant="EU"),
        ),
        order=OrderForm(rows="line", refunds="Refund", currency="Cur", key=["order_id", "Line"], total=["Sub", "-Off"]),
        furniture=Furniture(where=[{"Type": ["Payout"]}]),
    )
    with pytest.raises(InputError) as error:
        raw_names([*(set(ROW) - {"price", "timestamp", "region"}), "Datum"], profile, "o.csv")
    said = str(error.value)
    assert said.startswith(
        "o.csv has no column Preis or Einzelpreis, Zeit, Sub, Off, Refund, Cur, Line, Type, which the profile "
        "shop.toml needs: its first row is '"
    )


@pytest.mark.parametrize(
    ("skip", "header", "said"),
    [
        (0, [""], "its first row is empty; if the header stands below it, say skip_lines = 1 under [file]"),
        (1, ["", " "], "its first row, after skip_lines = 1, is empty; name the columns of this file in the profile"),
        (2, ["K1"], "after skip_lines = 2, has none of these names; "),
        (2, ["K1"], "; if the header stands above that row, make skip_lines less, and if below it, more"),
    ],
)
def test_header_that_does_not_stand_where_it_is_looked_for_is_told(skip: int, header: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        raw_names(header, replace(PLAIN, file=FileForm(skip_lines=skip)), "o.csv")
    assert said in str(error.value)


def test_first_row_is_not_quoted_when_it_does_not_look_like_a_header() -> None:
    with pytest.raises(InputError) as error:
        raw_names(["K1", "secret@example.com"], PLAIN, "o.csv")
    assert "has none of these names" in str(error.value)
    assert "secret" not in str(error.value)


def test_repeated_column_gets_a_number_when_the_profile_does_not_need_it() -> None:
    header = [*ROW, "Tax", "Tax", "", "Tax_2"]
    assert raw_names(header, PLAIN, "o.csv") == [*ROW, "Tax", "Tax_3", "column_13", "Tax_2"]
    with pytest.raises(InputError, match=r"^o.csv has the column price more than once, and the profile shop.toml "):
        raw_names([*ROW, "price"], PLAIN, "o.csv")
    unused = having(price=Column(names=["Preis", "price"]))
    assert raw_names([*ROW, "price", "Preis"], unused, "o.csv") == [*ROW, "price_2", "Preis"]


def test_other_columns_keep_their_names_unless_these_are_ours() -> None:
    profile = having(price=Column(names=["Preis"]), region=Column(constant="EU"))
    rows = texts([{"Preis": "7.25", "price": "old", "note": "n", "region_original": "r", "orders": "5"}])
    here = ["region_original", "price_original", "note", "region_original_2", "orders"]
    assert extra_names(rows.column_names, profile) == here
    orders = arranged(rows, profile, [*here, "elsewhere"]).orders
    assert orders.select([*here, "elsewhere"]).to_pylist() == [
        {"region_original": "west", "price_original": "old", "note": "n", "region_original_2": "r", "orders": "5",
         "elsewhere": None}
    ]  # fmt: skip
    counting = replace(profile, order=OrderForm(rows="line"))
    assert extra_names(rows.column_names, counting) == [*here[:-1], "orders_original"]


def test_columns_that_a_file_needs_are_those_that_the_profile_names() -> None:
    profile = having(price=Column(names=["Preis", "price"]), total_amount=Column(computed=True))
    assert needed(profile) == [
        [each] if each != "price" else ["Preis", "price"] for each in COLUMNS if each != "total_amount"
    ]


def test_null_is_an_empty_text_when_the_profile_names_formats() -> None:
    rows = texts([{}, {}])
    for name in ("timestamp", "price", "status"):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([None, ROW[name]], pa.string()))
    profile = replace(PLAIN, values=ValueForm(timestamp=["%Y-%m-%d %H:%M:%S"]), status={"": "pending"})
    orders = arranged(rows, profile, []).orders
    assert orders["timestamp"].to_pylist() == [None, datetime(2025, 4, 2, 9, 30)]
    assert orders["price"].to_pylist() == money(None, "7.25")
    assert orders["status"].to_pylist() == ["pending", "success"]


def test_no_rows_give_no_rows() -> None:
    profile = replace(
        having(total_amount=Column(sum=["a", "-b"]), timestamp=Column(join=["d", "t"])),
        values=ValueForm(decimal=",", timestamp=["%d.%m.%Y %H:%M"], zone="Europe/Berlin"),
        order=OrderForm(key=["order_id", "a"], refunds="a", currency="b"),
        status={"*": "success"},
    )
    rows = texts([dict.fromkeys("abdt", "")]).slice(0, 0)
    assert arranged(rows, profile, ["x"]).orders.num_rows == 0
