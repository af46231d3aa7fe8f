"""Proposals: files that nobody has seen before are read by the profile that is proposed for them, and come out right.

Each of `EXPORTS` is written as its source writes (design notes on exports); its orders and revenue are worked out by
hand beside it, with the profile as it is proposed, whatever questions it has.
"""

import gzip
import json
import random
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import inline
from conftest import TESTS
from daskjobs.cli.main import main
from daskjobs.cli.propose import NEXT
from daskjobs.errors import DaskjobsError, InputError
from daskjobs.files.storage import Storage
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.keys import OF_ORDER
from daskjobs.orders.profiles.reading import parse_profile, presets
from daskjobs.orders.proposals.proposal import WIDTH, propose, quoted
from daskjobs.orders.proposals.sampling import take
from daskjobs.orders.sources.inputs import find_inputs

MOST_LINES = 66
HEAD = "order_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp"
SHORT = "Order,Date,Total,Status"


@dataclass(frozen=True)
class Export:
    """A file, its encoding, what its profile must say, and what must come out with it."""

    text: str
    says: dict[str, Any]
    orders: int
    revenue: str
    encoding: str = "utf-8"
    asks: tuple[str, ...] = ()


EXPORTS = {
    # 99.80 + 1250.00 and 45.00, less the return of 9.00; the last one was cancelled.
    "sap.txt": Export(
        encoding="cp1252",
        text="""\
06.11.2026                    Auftragsübersicht                         1
Verkaufsorganisation 1000

------------------------------------------------------------------------------------------------
|Verkaufsbeleg|Position|Auftraggeber|Materialbezeichnung|Auftragsmenge|Nettopreis|  Nettowert|Belegdatum|Status    |
------------------------------------------------------------------------------------------------
|0000104711   |   10   |    K-100   |Wasserkessel       |          2  |    49,90 |     99,80 |13.01.2026|Fakturiert|
|0000104711   |   20   |    K-100   |Teekanne           |          1  | 1.250,00 |  1.250,00 |13.01.2026|Fakturiert|
|0000104712   |   10   |    K-200   |Becher grün        |         10  |     4,50 |     45,00 |02.02.2026|Fakturiert|
|0000104713   |   10   |    K-200   |Becher grün        |          2- |     4,50 |      9,00-|03.02.2026|Fakturiert|
|0000104714   |   10   |    K-300   |Wasserkessel       |          1  |    49,90 |     49,90 |04.02.2026|Storniert |
------------------------------------------------------------------------------------------------
|*            |        |            |                   |             |          |  1.435,70 |          |          |
------------------------------------------------------------------------------------------------
""",
        says={
            "file.delimiter": "|",
            "file.encodings": [("*", ["cp1252"])],
            "file.skip_lines": 4,
            "values.decimal": ",",
            "values.thousands": ["."],
            "values.trailing_minus": True,
            "values.timestamp": ["%d.%m.%Y"],
            "order.rows": "line",
            "order.key": ["order_id", "Position"],
            "order.returns": "subtract",
            "furniture.where": [{"Verkaufsbeleg": ["*"]}],
            "status": {"Fakturiert": "success", "Storniert": "cancelled"},
        },
        orders=2,
        revenue="1385.80",
    ),
    # 2099.00 + 16.00 and 4.00, less 4.00.
    "netsuite.csv": Export(
        text="""\
Internal ID,Date,Document Number,Name,Status,Item,Quantity,Item Rate,Amount,Currency
1001,1/31/2026,SO-1,Acme,Sales Order : Billed,Kettle,2,"1,049.50","2,099.00",USD
1001,1/31/2026,SO-1,Acme,Sales Order : Billed,Mug,4,4.00,16.00,USD
1002,2/1/2026,SO-2,- None -,Sales Order : Pending Fulfillment,Mug,1,4.00,4.00,USD
1003,2/3/2026,SO-3,Globex,Sales Order : Cancelled,Kettle,1,"1,049.50","1,049.50",USD
1004,2/4/2026,CM-1,Acme,Sales Order : Billed,Mug,-1,4.00,(4.00),USD
Overall Total,,,,,,,,"3,164.50",
""",
        says={
            "file.nulls": ["- None -"],
            "values.thousands": [","],
            "values.parentheses": True,
            "values.timestamp": ["%m/%d/%Y"],
            "order.rows": "line",
            "order.returns": "subtract",
            "order.currency": "Currency",
            "furniture.where": [{"Internal ID": ["Overall Total"]}],
        },
        orders=2,
        revenue="2115.00",
    ),
    # 65.00, and 27.00 less the refund of 7.00.
    "bigcommerce.csv": Export(
        text="""\
Order ID,Customer ID,Customer Email,Order Date,Order Time,Subtotal (ex tax),Tax Total,Shipping Cost (ex tax),\
Coupon Value,Order Total (inc tax),Order Status,Payment Method,Total Quantity,Order Currency Code,Refund Amount
100,7,ann@example.com,31/01/2026,14:05:00,50.00,10.00,5.00,0.00,65.00,Completed,Stripe,3,GBP,0.00
101,8,bob@example.com,01/02/2026,09:15:30,20.00,4.00,5.00,2.00,27.00,Shipped,PayPal,1,GBP,7.00
102,9,cy@example.com,02/02/2026,10:00:00,10.00,2.00,5.00,0.00,17.00,Awaiting Payment,Bank Deposit,1,GBP,0.00
103,9,cy@example.com,14/02/2026,10:00:00,10.00,2.00,5.00,0.00,17.00,Declined,Stripe,1,GBP,0.00
""",
        says={
            "columns.timestamp.join": ["Order Date", "Order Time"],
            "columns.total_amount.names": ["Order Total (inc tax)"],
            "columns.region.absent": True,
            "values.timestamp": ["%d/%m/%Y %H:%M:%S"],
            "order.refunds": "Refund Amount",
            "order.currency": "Order Currency Code",
        },
        orders=2,
        revenue="85.00",
    ),
    # 1234.50 + 10.00; a draft isn't paid.
    "salesforce.csv": Export(
        text="""\
"ORDERNUMBER","ACCOUNTID","STATUS","EFFECTIVEDATE","TOTALAMOUNT","BILLINGCOUNTRY","CURRENCYISOCODE"
"00000100","001A","Activated","2026-01-31T12:00:00.000Z","1234.5","Germany","EUR"
"00000101","001B","Draft","2026-02-01T12:00:00.000Z","99.0","France","EUR"
"00000102","001B","Activated","2026-02-02T12:30:00.000Z","10.0","France","EUR"
""",
        says={
            "columns.quantity.constant": "1",
            "columns.price.names": ["TOTALAMOUNT"],
            "columns.product.absent": True,
            "order.rows": "order",
            "values.timestamp": [],
        },
        orders=2,
        revenue="1244.50",
    ),
    # 49.80 + 1240.00.
    "italian.csv": Export(
        encoding="cp1252",
        text="""\
Numero ordine;Cliente;Provincia;Prodotto;Quantità;Prezzo unitario;Totale;Metodo di pagamento;Stato;Data ordine
A-1;Rossi;Milano;Caffettiera;2;€ 24,90;€ 49,80;Carta;Pagato;31/01/2026 09:30
A-2;Bianchi;Forlì;Tazza più piatto;10;€ 124,00;€ 1.240,00;Bonifico;Spedito;01/02/2026 10:00
A-3;Verdi;Torino;Tazza;1;€ 4,00;€ 4,00;Carta;Annullato;02/02/2026 11:00
""",
        says={
            "file.encodings": [("*", ["cp1252"])],
            "columns.quantity.names": ["Quantità"],
            "values.decimal": ",",
            "values.currency": ["€"],
            "values.timestamp": ["%d/%m/%Y %H:%M"],
        },
        orders=2,
        revenue="1289.80",
    ),
    # 1249.99 + 58.50.
    "polish.csv": Export(
        encoding="cp1250",
        text="""\
Nr zamówienia;Klient;Województwo;Nazwa produktu;Ilość;Cena jednostkowa;Razem;Sposób płatności;Status zamówienia;Data
Z/1;Kowalska;małopolskie;Czajnik żółty;1;1\xa0249,99 zł;1\xa0249,99 zł;Przelew;Opłacone;2026-01-31
Z/2;Nowak;śląskie;Kubek;3;19,50 zł;58,50 zł;BLIK;Wysłane;2026-02-01
Z/3;Wiśniewska;łódzkie;Kubek;1;19,50 zł;19,50 zł;BLIK;Anulowane;2026-02-02
""",
        says={
            "file.encodings": [("*", ["cp1250"])],
            "values.thousands": ["\xa0"],
            "values.currency": ["zł"],
            "columns.payment_mode.names": ["Sposób płatności"],
        },
        orders=2,
        revenue="1308.49",
    ),
    # 2099.00 + 89.00.
    "swiss.csv": Export(
        encoding="utf-8-sig",
        text="""\
sep=;
Bestellnummer;Kunde;Kanton;Artikel;Anzahl;Einzelpreis;Gesamtbetrag;Zahlungsart;Zahlungsstatus;Bestelldatum
5001;Meier;ZH;Fondue-Set;2;CHF 1'049.50;CHF 2'099.00;Twint;bezahlt;31.01.2026
5002;Favre;VD;Raclette;1;CHF 89.00;CHF 89.00;Rechnung;offen;01.02.2026
5003;Meier;ZH;Raclette;1;CHF 89.00;CHF 89.00;Twint;bezahlt;02.02.2026
""",
        says={
            "file.delimiter": ";",
            "file.skip_lines": 1,
            "file.encodings": [],
            "values.thousands": ["'"],
            "values.currency": ["CHF"],
        },
        orders=2,
        revenue="2188.00",
    ),
    # 14.50 + 4.00; without a header, and with the end mark.
    "postgres.copy": Export(
        text="""\
1\tu1\twest\t"kettle\t2\t7.25\t14.50\tcard\tsuccess\t2026-01-31 12:00:00.5+00
2\tu2\teast\tmug\\twith tab\t1\t4.00\t4.00\t\\N\tsuccess\t2026-02-01 12:00:00+00
3\t\\N\teast\tback\\\\slash\t1\t4.00\t4.00\tcash\tfailed\t2026-02-02 12:00:00+00
\\.
""",
        says={
            "file.delimiter": "\t",
            "file.quoting": "backslash",
            "file.quote": "",
            "file.header": HEAD.split(","),
            "furniture.lines": [r"^\\\.$"],
        },
        orders=2,
        revenue="18.50",
    ),
    # 14.50 + 1.50.
    "sqlcmd.csv": Export(
        text="""\
OrderNo     ,CustomerNo,Region    ,Product   ,Qty        ,UnitPrice   ,LineTotal   ,PaymentMethod,OrderStatus,OrderDate
------------,----------,----------,----------,-----------,------------,------------,-------------,-----------,---------
        1001,        17,North     ,Kettle    ,          2,      7.2500,     14.5000,card         ,Paid       ,2026-01-31
        1002,        18,South     ,Mug       ,          1,       .5000,       .5000,NULL         ,Pending    ,2026-02-01
        1003,        18,South     ,Mug       ,          3,       .5000,      1.5000,card         ,Paid       ,2026-02-01

(3 rows affected)
""",
        says={"file.nulls": ["NULL"], "file.footer_lines": 2, "columns.total_amount.names": ["LineTotal"]},
        orders=2,
        revenue="16.00",
    ),
    # 49.80 + 1248.00.
    "numbers.csv": Export(
        text="""\
Commandes 2026

N° de commande;Client;Pays;Produit;Quantité;Prix unitaire;Montant TTC;Moyen de paiement;Statut;Date de commande
F1;Dupont;France;Théière;2;24,90 €;49,80 €;CB;Payée;31/01/2026
F2;Martin;Belgique;Tasse;12;104,00 €;1\u202f248,00 €;CB;Expédiée;01/02/2026
F3;Petit;France;Tasse;1;4,00 €;4,00 €;Chèque;En attente de paiement;02/02/2026
""",
        says={"file.skip_lines": 2, "values.thousands": ["\u202f"], "columns.order_id.names": ["N° de commande"]},
        orders=2,
        revenue="1297.80",
    ),
    # The orders' own totals: 133.10 + 36.30.
    "odoo.csv": Export(
        text="""\
"Order Reference","Order Date","Customer","Status","Total","Order Lines/Product","Order Lines/Quantity",\
"Order Lines/Unit Price","Order Lines/Subtotal"
"S00001","2026-01-31 12:00:00","Acme","Sales Order","133.1","Kettle","2.0","50.0","100.0"
"","","","","","Mug","1.0","10.0","10.0"
"S00002","2026-02-01 12:00:00","Globex","Quotation","12.1","Mug","1.0","10.0","10.0"
"S00003","2026-02-02 12:00:00","Acme","Sales Order","36.3","Mug","3.0","10.0","30.0"
""",
        says={
            "order.rows": "line",
            "order.fill_down": [*OF_ORDER],
            "order.total": ["Total"],
        },
        orders=2,
        revenue="169.40",
    ),
    # 9.80 + 32.00, and not twice that: each receipt ends with its sum.
    "kasse.csv": Export(
        text="""\
Belegnummer;Datum;Artikel;Menge;Einzelpreis;Betrag;Status
1001;02.02.2026 09:15;Brot;2;3,50;7,00;bezahlt
1001;02.02.2026 09:15;Kaffee;1;2,80;2,80;bezahlt
1001;02.02.2026 09:15;Summe;1;9,80;9,80;bezahlt
1002;22.02.2026 09:20;Torte;1;32,00;32,00;bezahlt
1002;22.02.2026 09:20;Summe;1;32,00;32,00;bezahlt
""",
        says={"furniture.where": [{"Artikel": ["Summe"]}], "order.rows": "line"},
        orders=2,
        revenue="41.80",
    ),
    # 2500.00 + 125.00 less 25.00, and 29.98, a cent more than 3 times 9.99.
    "alv.csv": Export(
        text="""\
VBELN;KUNNR;Land;Bezeichnung;Menge;Netto;Nettowert;Währg;Erdat
4711001;C-100;DE;Pumpe;2;1.250,00;2.500,00;EUR;02.02.2026
4711002;C-101;AT;Ventil;10;12,50;125,00;EUR;22.02.2026
4711003;C-101;AT;Ventil;2-;12,50;25,00-;EUR;05.02.2026
4711004;C-106;DE;Kabel;3;9,99;29,98;EUR;06.02.2026
""",
        says={
            "columns.price.names": ["Netto"],
            "columns.total_amount.names": ["Nettowert"],
            "order.currency": "Währg",
            "order.tolerance": 1,
        },
        orders=3,
        revenue="2629.98",
    ),
    # 7.00 + 2.80, and "Einzel" is no name that is known.
    "einzel.csv": Export(
        text="""\
Bestellnummer;Datum;Artikel;Menge;Einzel;Betrag;Status
1001;02.02.2026;Brot;2;3,50;7,00;bezahlt
1002;22.02.2026;Kaffee;1;2,80;2,80;bezahlt
1003;22.02.2026;Kaffee;3;2,80;8,40;offen
""",
        says={"columns.price.names": ["Einzel"], "columns.total_amount.names": ["Betrag"], "order.price": "unit"},
        orders=2,
        revenue="9.80",
    ),
    # 1049.90 in dollars; the order in yen is another currency's.
    "report.csv": Export(
        text="""\
"Order Number","Product Name","Quantity","Unit Price Currency","Unit Price","Total Price Currency","Total Price",\
"Status","Effective Date"
"00000101","Desk","2","USD","500.00","USD","1,000.00","Activated","1/30/2026"
"00000101","Lamp","1","USD","49.90","USD","49.90","Activated","1/30/2026"
"00000104","Chair","1","JPY","75.00","JPY","75.00","Activated","2/22/2026"
""",
        says={"order.currency": "Total Price Currency", "order.report_currency": "USD"},
        orders=1,
        revenue="1049.90",
        asks=("a report is of one currency",),
    ),
    # 1250.00 + 128.20 in euros: the francs are rejected, and not added.
    "signs.csv": Export(
        text="""\
Bestellnummer;Datum;Kunde;Artikel;Menge;Preis;Summe;Status
1;31.01.2026;A;Tisch;1;1.250,00 €;1.250,00 €;bezahlt
2;31.01.2026;B;Stuhl;2;64,10 €;128,20 €;bezahlt
3;31.01.2026;C;Stuhl;2;64,10 CHF;128,20 CHF;bezahlt
""",
        says={"values.currency": ["€"]},
        orders=2,
        revenue="1378.20",
        asks=("amounts are of several currencies",),
    ),
    # 9.80 + 32.00; there is no quantity.
    "till.csv": Export(
        text="""\
Order No,Date,Item,Amount,Status
1001,2026-02-02 09:15,Bread,7.00,paid
1001,2026-02-02 09:15,Coffee,2.80,paid
1001,2026-02-02 09:15,TOTAL:,9.80,paid
1002,2026-02-02 09:20,Cake,32.00,paid
1002,2026-02-02 09:20,TOTAL:,32.00,paid
""",
        says={"furniture.where": [{"Item": ["TOTAL:"]}], "order.rows": "line"},
        orders=2,
        revenue="41.80",
    ),
    # 37.40 + 14.80 less 5.00.
    "shop.csv": Export(
        text="""\
Name,Email,Financial Status,Paid at,Currency,Subtotal,Shipping,Taxes,Total,Discount Amount,Created at,\
Lineitem quantity,Lineitem name,Lineitem price,Payment Method,Refunded Amount
#1001,a@example.com,paid,2026-01-31 10:37:33 -0500,USD,30.00,5.00,2.40,37.40,0.00,2026-01-31 10:37:31 -0500,\
2,Kettle,10.00,Shopify Payments,0.00
#1001,a@example.com,,,,,,,,,2026-01-31 10:37:31 -0500,1,Mug,10.00,,
#1002,b@example.com,partially_refunded,2026-02-01 10:37:33 -0500,USD,10.00,5.00,0.80,14.80,1.00,\
2026-02-01 10:37:31 -0500,1,Mug,10.00,PayPal,5.00
#1003,b@example.com,expired,,USD,10.00,5.00,0.80,15.80,0.00,2026-02-02 10:37:31 -0500,1,Mug,10.00,PayPal,0.00
""",
        says={
            "order.rows": "line",
            "order.total": ["Total"],
            "order.refunds": "Refunded Amount",
            "columns.timestamp.names": ["Created at"],
        },
        orders=2,
        revenue="47.20",
        asks=("Created at or Paid at", "the order's own total"),
    ),
}


def proposed(pattern: str | Path, today: date | None = None) -> str:
    names = list(find_inputs(str(pattern)))
    return propose(take(Storage("/"), names), len(names), today)


def profile_of(text: str) -> Profile:
    return parse_profile(text, "proposal")


def said(profile: Profile, key: str) -> Any:
    value: Any = profile
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def written(folder: Path, name: str, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def flat(text: str) -> str:
    """Return the comments of a proposal without their breaks of lines."""
    return text.replace("\n# ", " ")


def rows(*lines: str, head: str = HEAD) -> str:
    return "\n".join([head, *lines]) + "\n"


def report_of(folder: Path, pattern: str | Path, proposal: str) -> tuple[int, str]:
    answered = proposal
    if "\nstatus = " not in proposal:
        answered = proposal.replace("# status = {constant", "status = {constant")  # each row is of a paid order
    profile = written(folder, "mine.toml", answered)
    results = inline.run(folder / "run", str(pattern), profile=str(profile))
    report = json.loads(results["report/analytics_report.json"])
    return report["orders"], f"{report['revenue']:.2f}"


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_that_nobody_has_seen_comes_out_right_by_its_proposal(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]
    path = written(tmp_path, name, export.text, export.encoding)
    text = proposed(path)
    profile = profile_of(text)
    assert {key: said(profile, key) for key in export.says} == export.says
    for question in export.asks:
        assert any("QUESTION" in line and question in line for line in text.splitlines()), text
    assert report_of(tmp_path, path, text) == (export.orders, export.revenue)


@pytest.mark.parametrize("name", EXPORTS)
def test_a_proposal_is_short_the_same_each_time_and_has_no_personal_data(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]
    text = proposed(written(tmp_path, name, export.text, export.encoding))
    assert len(text.splitlines()) <= MOST_LINES
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text == proposed(tmp_path / name)
    for secret in ("example.com", "Rossi", "Kowalska", "Dupont", "Meier", "Acme", "Kettle", "1001"):
        assert secret not in text


SAMPLES = [path for path in sorted((TESTS / "corpus").iterdir()) if path.suffix != ".yaml"]
NO_SAMPLE = {  # files for which there is no proposal, and words of the sentence instead
    "empty.csv": "is empty",
    "gzip_cut.csv.gz": "can't be unpacked",
    "zstd_damaged.csv.zst": "can't be unpacked",
    "json_array.json": "jq -c '.[]'",
    "json_objects_in_a_row.jsonl": "jq -c .",
    "json_pretty.json": "jq -c .",
    "parquet_cut.parquet": "damaged",
    "parquet_encrypted.parquet": "encrypted",
    "parquet_encrypted_columns.parquet": "encrypted",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.name))
def test_each_file_of_the_corpus_gives_a_valid_profile_or_one_sentence(path: Path) -> None:
    if words := NO_SAMPLE.get(path.name):
        with pytest.raises(InputError, match=words.replace(".", r"\.").replace("[", r"\[")):
            proposed(path)
    else:
        text = proposed(path)
        profile_of(text)
        assert len(text.splitlines()) <= MOST_LINES


def bodies() -> dict[str, bytes]:
    chance = random.Random(25)
    line = "K0,u0,west,kettle,3,7.25,21.75,card,success,2025-04-02 09:30:00"
    return {
        "one row": rows(line).encode(),
        "one column": b"order_id\n1\n2\n",
        "one value": b"x",
        "blank lines": b"\n\n\n\n",
        "delimiters alone": b",,,,\n,,,,\n",
        "quotes alone": b'"""""""\n"\n',
        "a huge line": b"a," * 1_100_000,
        "a huge field": rows(line.replace("kettle", "k" * 3_000_000)).encode(),
        "an unclosed quote": rows('"' + line, *[line] * 50).encode(),
        "many columns": (",".join(f"c{number}" for number in range(5000)) + "\n" + "1," * 4999 + "1\n").encode(),
        "control characters": bytes(range(32)) * 20,
        "random bytes": chance.randbytes(100_000),
        "random text": "".join(chance.choices("a1,;\t|\"'\\\n\r .-é€", k=20_000)).encode(),
        "nuls": bytes(10_000),
        "a workbook": b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml" + bytes(200),
        "a page": b"<!doctype html><title>Log in</title>",
        "odd json": b'{"a": "\\ud800", "\\ud800": 1}\n{"a": [1, {"b": null}], "order_id": true}\n{"a"\n',
        "rights to left": "order_id,\u202etotal\n\u202e1,2\n".encode(),
        "names in quotes": b'"order ""id""","a\\b","c\'d","e\nf"\n1,2,3,4\n',
        "toml in names": b'order_id,"]\n[order]\nrows = ""line""",#,=\n1,2,3,4\n',
        "equal names": b"id,total,total,total\n1,2,3,4\n2,2,3,4\n",
        "utf-16 cut": "order_id,total\n1,2\n".encode("utf-16")[:-1],
        "utf-16 without a mark": rows(*[line] * 30).encode("utf-16-le"),
        "carriage returns": rows(line, line).replace("\n", "\r").encode(),
        "many digits": b"id,total\n1," + b"9" * 50 + b"\n2," + b"9" * 4000 + b"\n",
        "dates of all kinds": b"id,date\n1,0000-00-00\n2,9999-99-99\n3,31/31/3131\n4,2026-02-30\n",
    }


@pytest.mark.parametrize("what", bodies())
def test_whatever_a_file_holds_there_is_a_valid_profile_or_one_sentence(what: str, tmp_path: Path) -> None:
    path = written(tmp_path, "file", bodies()[what])
    try:
        text = proposed(path)
    except InputError as error:
        text = ""
        sentence = str(error)
    if text:
        profile_of(text)
    else:
        assert re.match(r"[^\n]+ (is|can't be) [^\n]+$", sentence)


def test_text_of_copy_has_no_quotes_and_its_preset_is_named(tmp_path: Path) -> None:
    line = "{0}\tu\twest\t{1}\t1\t4.00\t4.00\tcard\tsuccess\t2026-02-01 12:00:00+00\n"
    texts = ['"quoted', 'end"', "mug", r"\N"]
    path = written(tmp_path, "o.tsv", "".join(line.format(*each) for each in enumerate(texts, 1)) + "\\.\n")
    text = proposed(path)
    assert "as COPY of PostgreSQL writes it: the preset postgres-copy reads it, too" in flat(text)
    assert report_of(tmp_path, path, text) == (4, "16.00")


def test_what_is_said_of_negative_rows_is_true(tmp_path: Path) -> None:
    head = "order_id,customer,item,qty,price,total,status,created_at"
    sold = "1,A,Mug,2,10.00,20.00,paid,2026-01-13 10:00:00"
    signs = rows(sold, "R1,A,Mug,1,10.00,-10.00,refund,2026-01-13 11:00:00", head=head)
    text = proposed(written(tmp_path, "o.csv", signs))
    assert "taken off" not in text.partition("[order]")[0]
    assert "1 row, the total is negative and quantity and price are not: it is rejected" in flat(text)
    answered = text.replace('price = "price"', 'price = "total"').replace('# price = "line"', 'price = "line"')
    assert report_of(tmp_path, tmp_path / "o.csv", answered) == (1, "10.00")
    prices = rows(sold, "R1,A,Mug,1,-10.00,-10.00,refund,2026-01-13 11:00:00", head=head)
    text = proposed(written(tmp_path, "o.csv", prices))
    assert "taken off" not in text.partition("[order]")[0]
    assert '# returns = "subtract"' in text


def test_the_quoting_that_makes_regular_rows_is_proposed(tmp_path: Path) -> None:
    line = "K{0},u,west,{1},3,7.25,21.75,card,success,2025-04-02"
    spark = rows(line.format(1, r'"7\" kettle, steel"'), line.format(2, r"C:\new\table"), line.format(3, "pan"))
    single = rows("'K1','u','west','a, b','3','7.25','21.75','card','success','2025-04-02'")
    plain = rows(line.format(1, '7" kettle'), line.format(2, '"quoted" pan'))
    forms = [profile_of(proposed(written(tmp_path, "o.csv", text))).file for text in (spark, single, plain)]
    assert [(form.quoting, form.quote) for form in forms] == [("spark", '"'), ("", "'"), ("", '"')]


def test_days_above_twelve_decide_and_otherwise_both_readings_are_asked_for(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,21.75,card,success,{1}"
    days = ["03/04/2025 09:30", "25/04/2025 10:00", "01/02/2025 11:00"]
    decided = proposed(written(tmp_path, "a.csv", rows(*(line.format(n, day) for n, day in enumerate(days)))))
    assert profile_of(decided).values.timestamp == ["%d/%m/%Y %H:%M"]
    assert "3 of 3 values fit %d/%m/%Y %H:%M; 1 of them can't be %m/%d/%Y %H:%M" in decided
    assert "# QUESTION:" not in decided
    asked = proposed(written(tmp_path, "b.csv", rows(line.format(1, days[0]), line.format(2, days[2]))))
    assert "# QUESTION: which is the day, which the month?" in asked
    assert '# timestamp = ["%m/%d/%Y %H:%M"]' in asked
    assert profile_of(asked).values.timestamp == ["%d/%m/%Y %H:%M"]


def test_one_sign_with_three_digits_behind_it_is_asked_for_where_nothing_decides(tmp_path: Path) -> None:
    head, end = "order_id;total;status;timestamp", "success;2025-04-02"
    asked = proposed(written(tmp_path, "a.csv", rows(f"1;1.234;{end}", f"2;7.500;{end}", head=head)))
    assert "does this sign group thousands?" in asked
    decided = proposed(written(tmp_path, "b.csv", rows(f"1;1.234;{end}", f"2;7,5;{end}", head=head)))
    assert "# QUESTION:" not in decided
    values = profile_of(decided).values
    assert (values.decimal, values.thousands) == (",", ["."])


ASKED = """To be paid;Part paid;Never paid;Anzahlung bezahlt;yet to be paid;will be paid;Must be paid;Should be paid
Wird bezahlt;Half paid;50% paid;Deposit paid;Paid deposit;Paid partially;part-paid;Paid?;!paid;~paid;Paid out
Return delivered;to be shipped;to be delivered;to be completed;Paid then cancelled;Complete - refunded;Not yet paid
Not cancelled;never cancelled;Refund declined;Delivery failed;Processing payment;a conto bezahlt;Paid 2;Sale (void)"""
MEANT = {
    "success": "paid;PAID;Paid.;Completed, shipped;Paid / shipped;Order shipped;Paye\u0301e;On backorder (paid)",
    "pending": "Partially paid;partially_paid;unpaid;not paid;Impayée;Niet betaald;nicht bezahlt",
    "cancelled": "Order cancelled;Storniert",
}


@pytest.mark.parametrize("text", re.split("[;\n]", ASKED))
def test_a_status_with_a_word_or_sign_that_is_not_understood_is_asked_for(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, "o.csv", rows("1,2026-01-13,10.00,Paid", f"2,2026-01-14,20.00,{text}", head=SHORT))
    proposal = proposed(path)
    assert f'QUESTION: what do these mean? They are rejected (1 row) until they are named: "{text}" (1)' in flat(
        proposal
    )
    assert report_of(tmp_path, path, proposal) == (1, "10.00")


def test_a_status_whose_words_are_all_known_is_named(tmp_path: Path) -> None:
    texts = {text: ours for ours, each in MEANT.items() for text in each.split(";")}
    lines = (f'{n},2026-01-13,10.00,"{text}"' for n, text in enumerate(texts))
    proposal = proposed(written(tmp_path, "o.csv", rows(*lines, head=SHORT)))
    assert profile_of(proposal).status == texts
    assert "# QUESTION" not in proposal


@pytest.mark.parametrize(("name", "revenue"), [("Total", "20.00"), ("Total 2", "24.00")])
def test_of_two_columns_of_one_name_it_is_asked_which_counts(name: str, revenue: str, tmp_path: Path) -> None:
    head = "Order,Date,Total,Total,Status"
    path = written(tmp_path, "o.csv", rows(*(f"{n},2026-01-1{n},10.00,12.00,Paid" for n in (1, 2)), head=head))
    text = proposed(path)
    assert "QUESTION: which Total counts? Two columns have this name, and differ in 2 of 2 rows" in flat(text)
    before, columns, after = text.partition("[columns]")
    assert report_of(tmp_path, path, before + columns + after.replace('"Total"', f'"{name}"'))[1] == revenue
    equal = rows("1,2026-01-11,10.00,10.00,Paid", head=head)
    assert "# QUESTION" not in proposed(written(tmp_path, "equal.csv", equal))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (rows("1,2026-01-13,1999,Paid", "2,2026-01-14,500,Paid", head=SHORT), True),
        (rows("1,2026-01-13,1999.0,Paid", "2,2026-01-14,500.0,Paid", head=SHORT), True),
        (rows("1,2026-01-13,3,500,1500,Paid", head="Order,Date,Qty,Price,Total,Status"), True),
        ('{"id": "ch_1", "amount": 1999, "currency": "usd", "status": "succeeded", "created": 1767211000}\n', True),
        ('{"id": "ch_1", "amount": 1999, "currency": "jpy", "status": "succeeded", "created": 1767211000}\n', False),
        (rows("1,2026-01-13,1999,Paid", "2,2026-01-14,50,Paid", head=SHORT), False),
        (rows("1,2026-01-13,$1999,Paid", "2,2026-01-14,$500,Paid", head=SHORT), False),
        (rows("1,2026-01-13,1999,4.90,Paid", head=SHORT.replace("Total", "Total,Shipping")), False),
    ],
)
def test_whole_amounts_that_may_be_cents_are_asked_for(text: str, asked: bool, tmp_path: Path) -> None:
    assert ("like 1999 for 19.99?" in flat(proposed(written(tmp_path, "o", text)))) == asked


def test_quantities_that_are_not_whole_are_told_with_what_they_come_to(tmp_path: Path) -> None:
    head = "Order,Date,Qty,Price,Total,Status"
    path = written(
        tmp_path, "o.csv", rows("1,2026-01-13,1.5,10.00,15.00,Paid", "2,2026-01-14,0.25,8.00,2.00,Paid", head=head)
    )
    text = proposed(path)
    assert "Qty has numbers that are not whole" in text
    assert "Qty * Price is the total in 2 of 2 rows: no run checks it" in text
    assert report_of(tmp_path, path, text) == (2, "17.00")
    wrong = path.read_text().replace("15.00", "18.00")
    assert "is the total in 2 of 2" not in proposed(written(tmp_path, "wrong.csv", wrong))
    without = "Order,Date,Qty,Price,Status\n1,2026-01-13,1.5,10.00,Paid\n2,2026-01-14,0.25,8.00,Paid\n"
    assert "QUESTION: what is a row's total? No column has it" in flat(proposed(written(tmp_path, "w.csv", without)))


def test_some_quantities_that_are_not_whole_are_asked_for(tmp_path: Path) -> None:
    lines = [f"{n},2026-01-13,{n},10.00,{n * 10}.00,Paid" for n in range(1, 6)]
    path = written(
        tmp_path,
        "o.csv",
        rows(*lines, "6,2026-01-13,1.5,10.00,15.00,Paid", head="Order,Date,Qty,Price,Total,Status"),
    )
    text = proposed(path)
    assert "QUESTION: in 1 row, Qty is no whole number, and such rows are rejected" in flat(text)
    assert report_of(tmp_path, path, text) == (5, "150.00")


def test_unknown_statuses_are_asked_for_with_their_counts_and_stay_unmapped(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,21.75,card,{1},2025-04-02"
    texts = ["bezahlt", "bezahlt", "Sonderfall", "", '"Completed, shipped"', "nicht bezahlt", "Order cancelled"]
    text = proposed(written(tmp_path, "o.csv", rows(*(line.format(n, each) for n, each in enumerate(texts)))))
    status = profile_of(text).status
    assert status == {
        "bezahlt": "success",
        "Completed, shipped": "success",
        "nicht bezahlt": "pending",
        "Order cancelled": "cancelled",
    }
    assert '"" (1), "Sonderfall" (1)' in text
    assert '# pending = ["", "Sonderfall"]' in text


def test_rows_with_one_id_and_equal_products_are_no_lines_of_an_order(tmp_path: Path) -> None:
    line = "K0,u,west,{0},3,7.25,21.75,card,{1},2025-04-02"
    again = rows(line.format("kettle", "pending"), line.format("kettle", "success"))
    other = rows(line.format("kettle", "success"), line.format("mug", "success"))
    forms = [profile_of(proposed(written(tmp_path, "o.csv", text))).order.rows for text in (again, other)]
    assert forms == ["order", "line"]
    text = proposed(written(tmp_path, "o.csv", again))
    assert "does the last one count?" in text
    profile_of(text.replace('# repeats = "last"', 'repeats = "last"'))


def test_what_a_total_is_decides_which_rule_holds(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,{1},{2},card,success,2025-04-02"
    of_line = rows(*(line.format(n, "21.75", "21.75") for n in range(4)))
    taxed = rows(*(line.format(n, "7.25", "26.10") for n in range(4)))
    rounded = rows(*(line.format(n, "3.33", "10.00") for n in range(4)))
    orders = [profile_of(proposed(written(tmp_path, "o.csv", text))).order for text in (of_line, taxed, rounded)]
    assert [(each.price, each.without_rules, each.tolerance) for each in orders] == [
        ("line", [], 0),
        ("unit", ["wrong_total"], 0),
        ("unit", [], 1),
    ]


def test_the_example_of_the_documentation_comes_out_right_as_it_is_proposed(tmp_path: Path) -> None:
    path = TESTS.parent / "examples/exports/own.csv"
    text = proposed(path)
    assert "# QUESTION:" not in text
    assert "quantity * price + Versand - Rabatt" in text
    assert report_of(tmp_path, path, text) == (6, "1316.13")


def test_totals_that_differ_in_some_rows_are_asked_for(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,{1},card,success,2025-04-02"
    text = proposed(
        written(tmp_path, "o.csv", rows(*(line.format(n, t) for n, t in enumerate(["21.75", "21.75", "25"]))))
    )
    assert "quantity * price is the total in 2 of 3 rows: the others are rejected (wrong_total)" in text
    assert profile_of(text).order.without_rules == []
    text = proposed(written(tmp_path, "o.csv", rows(*(line.format(n, t) for n, t in enumerate(["21.75", "20", "25"])))))
    assert profile_of(text).order.without_rules == ["wrong_total"]


def test_a_total_that_most_orders_repeat_on_their_lines_is_asked_for_and_not_taken_for_the_lines(
    tmp_path: Path,
) -> None:
    line = "K{0},u,west,{1},2,5.00,{2},card,success,2025-04-02"
    lines = [(1, "kettle", "20.00"), (1, "mug", "20.00"), (2, "kettle", "20.00"), (2, "mug", "21.00")]
    text = proposed(written(tmp_path, "o.csv", rows(*(line.format(*each) for each in lines))))
    assert "all lines have the same total_amount in 1 of 2 orders of several: is it the order's own" in flat(text)
    assert profile_of(text).order.without_rules == []


def test_titles_and_sums_between_rows_are_furniture_and_a_page_head_stands_again(tmp_path: Path) -> None:
    head = "Sales report;;;;;\nOrder;Date;Customer;Amount;Currency;Status"
    page = [f"A{n};{n}.01.2026;X;10,00;EUR;paid" for n in (1, 2)] + ["Subtotal;;;20,00;;"]
    path = written(tmp_path, "o.csv", rows(*page, head, *(each.replace("A", "B") for each in page), head=head))
    text = proposed(path)
    furniture = profile_of(text).furniture
    assert furniture.header
    assert furniture.where == [{"Order": ["Sales report", "Subtotal"]}]
    assert report_of(tmp_path, path, text) == (4, "40.00")


def test_what_was_refunded_in_part_counts_less_what_was_given_back(tmp_path: Path) -> None:
    head = "id,Amount,Amount Refunded,Status,Created"
    path = written(
        tmp_path,
        "o.csv",
        rows(
            "1,10.00,0.00,Paid,2026-01-31",
            "2,10.00,4.00,Refunded,2026-02-01",
            "3,9.00,0.00,Failed,2026-02-01",
            head=head,
        ),
    )
    assert report_of(tmp_path, path, proposed(path)) == (2, "16.00")


def test_a_word_of_sums_that_adds_up_to_nothing_is_asked_for_and_stays(tmp_path: Path) -> None:
    line = "K{0},u,west,{1},1,{2},{2},card,success,2025-04-02"
    lines = [line.format(*each) for each in ((1, "kettle", "5.00"), (1, "Total", "7.00"), (2, "Total", "9.00"))]
    text = proposed(written(tmp_path, "o.csv", rows(*lines)))
    assert "QUESTION: 2 rows of product have a word of sums, and 0 are the sum" in flat(text)
    assert '# where = [{"product" = ["Total"]}]' in text
    assert report_of(tmp_path, tmp_path / "o.csv", text) == (2, "21.00")


UNLABELLED = {
    "of all orders": (
        rows("1,2026-01-13,10.00,Paid", "2,2026-01-14,20.00,Paid", ",,30.00,", head=SHORT),
        2,
        "30.00",
        1,
    ),
    "with decimal commas": (
        rows(
            "A1;c;13.01.2026;10,00;Paid", "A2;c;14.01.2026;40,00;Paid", ";;;50,00;",
            head="Order;Customer;Date;Total;Status",
        ),
        2,
        "50.00",
        1,
    ),
    "that are quantity times price": (
        rows(
            *(f"A{n};c;1{n}.01.2026;1;10,00;10,00;Paid" for n in range(3, 8)),
            ";;;5;10,00;50,00;",
            head="Order;Customer;Date;Qty;Price;Total;Status",
        ),
        5,
        "50.00",
        1,
    ),
    "after every second order, and of all": (
        rows(
            "1,2026-01-13,10.00,Paid", "2,2026-01-14,20.00,Paid", ",,30.00,",
            "3,2026-01-15,5.00,Paid", "4,2026-01-16,7.00,Paid", ",,12.00,", ",,42.00,",
            head=SHORT,
        ),
        4,
        "42.00",
        3,
    ),
    "below the lines of orders": (
        rows(
            *(f"{n},c,2026-01-0{n},a,1,10.00,Paid\n,,,b,1,5.00," for n in range(1, 5)), ",,,,8,60.00,",
            head="Order,Customer,Date,Item,Qty,Total,Status",
        ),
        4,
        "60.00",
        1,
    ),
    "with the currency": (
        rows(
            "1,2026-01-13,10.00,EUR,Paid", "2,2026-01-14,20.00,EUR,Paid", ",,30.00,EUR,",
            head="Order,Date,Total,Currency,Status",
        ),
        2,
        "30.00",
        1,
    ),
    "with the number of orders for an id": (
        rows("1,2026-01-13,10.00,Paid", "2,2026-01-14,20.00,Paid", "2,,30.00,", head=SHORT),
        2,
        "30.00",
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLABELLED)
def test_sums_without_a_word_are_no_line_of_the_last_order(name: str, tmp_path: Path) -> None:
    text, orders, revenue, sums = UNLABELLED[name]
    path = written(tmp_path, "o.csv", text)
    proposal = proposed(path)
    assert report_of(tmp_path, path, proposal) == (orders, revenue)
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["rows"]["furniture"] == sums
    assert "# QUESTION" not in proposal


@pytest.mark.parametrize(
    "last",
    [
        ",,10.00,",  # the sum of what was paid, or a line of the second order
        ",Sum of January,30.00,",
        ",,20.00,",  # a sum of the row above, or a second line that is equal
    ],
)
def test_rows_that_may_be_sums_or_lines_are_asked_for(last: str, tmp_path: Path) -> None:
    lines = ("1,2026-01-13,10.00,Paid", "2,2026-01-14,20.00,Cancelled")
    path = written(tmp_path, "o.csv", rows(*lines, last, head=SHORT))
    text = proposed(path)
    assert "QUESTION: are these sums? 1 row" in flat(text)
    answered = text.replace("# where = ", "where = ")
    assert report_of(tmp_path, path, answered) == (1, "10.00")


@pytest.mark.parametrize("count", [11_000, 80_000])
def test_sums_at_the_end_of_a_large_file_are_asked_for(count: int, tmp_path: Path) -> None:
    lines = (f"{n},2026-01-13,a{n:020},1,10.00,Paid\n,,b,1,5.00," for n in range(count // 2))
    path = written(tmp_path, "o.csv", rows(*lines, ",,,,60000.00,", head="Order,Date,Item,Qty,Total,Status"))
    assert "QUESTION: are these sums? 1 row" in flat(proposed(path))


def test_lines_of_numbers_alone_with_quantity_and_price_are_lines(tmp_path: Path) -> None:
    lines = ("1,2026-01-13,1,10.00,10.00,Paid", ",,1,10.00,10.00,", ",,2,3.00,6.00,", "2,2026-01-14,1,4.00,4.00,Paid")
    path = written(tmp_path, "o.csv", rows(*lines, head="Order,Date,Qty,Price,Total,Status"))
    text = proposed(path)
    assert "# QUESTION" not in text
    assert report_of(tmp_path, path, text) == (2, "30.00")


def days_of(folder: Path) -> list[str]:
    """Return the days of the paid orders of a run."""
    found = [
        each for path in sorted(folder.rglob("paid.parquet")) for each in pq.read_table(path)["timestamp"].to_pylist()
    ]
    return [f"{each:%Y-%m-%d}" for each in found]


DATED = {
    "dashes": (("26-01-13", "26-01-14", "26-01-31"), "%y-%m-%d", "2026-01-13", 0),
    "slashes": (("26/02/11", "26/03/12", "26/04/13"), "%y/%m/%d", "2026-02-11", 0),
    "points": (("26.02.11", "26.03.12", "26.04.13"), "%y.%m.%d", "2026-02-11", 0),
    "with a clock": (("26-02-11 10:00", "26-03-12 10:00", "26-04-13 10:00"), "%y-%m-%d %H:%M", "2026-02-11", 0),
    "the year at the end": (("13.01.26", "14.01.26", "31.01.26"), "%d.%m.%y", "2026-01-13", 0),
    "one that would be in the future": (("31-01-26",), "%d-%m-%y", "2026-01-31", 0),
    "nothing that decides": (("25-01-26", "26-01-26"), "%d-%m-%y", "2026-01-25", 1),
    "three readings": (("01/02/05", "02/03/05", "03/04/05"), "%d/%m/%y", "2005-02-01", 1),
    "the rarer one": (("2026-01-13", "2026-01-14", "2026-01-15", "01/03/2026", "02/04/2026"), "iso", "2026-01-13", 1),
    "beside months in words": (("05-Apr-2026", "06-Apr-2026", "03/04/2026"), "%d-%b-%Y", "2026-04-05", 1),
    "two that may both be": (("05/04/2026 10:00", "06/04/2026 10:00", "03/04/2026"), "%d/%m/%Y %H:%M", "2026-04-05", 2),
    "points in German": (("01.02.2026", "02.03.2026"), "%d.%m.%Y", "2026-02-01", 0),
}


@pytest.mark.parametrize("name", DATED)
def test_each_format_is_decided_by_evidence_or_asked_for(name: str, tmp_path: Path) -> None:
    days, form, first, questions = DATED[name]
    lines = (f"{n},{day},10.00,Paid" for n, day in enumerate(days))
    path = written(tmp_path, "o.csv", rows(*lines, head=SHORT))
    text = proposed(path, date(2026, 11, 30))
    assert profile_of(text).values.timestamp[0] == form
    assert text.count("# QUESTION: which is the day") == text.count("# QUESTION") == questions
    assert report_of(tmp_path, path, text) == (len(days), f"{10 * len(days)}.00")
    assert days_of(tmp_path / "run")[0] == first


def test_a_year_that_is_decided_says_why(tmp_path: Path) -> None:
    texts = [
        rows(*(f"{n},{day},10.00,Paid" for n, day in enumerate(days)), head=SHORT)
        for days in (("26-01-13", "26-01-14", "26-01-15"), ("26-01-31",))
    ]
    said = [flat(proposed(written(tmp_path, "o.csv", text), date(2026, 11, 30))) for text in texts]
    assert "3 of 3 values fit %y-%m-%d; as %d-%m-%y, they would be of 3 years, not of 1" in said[0]
    assert "1 of 1 values fit %y-%m-%d; as %d-%m-%y, 1 would be in the future" in said[1]


@pytest.mark.parametrize("files", [1, 2])
def test_days_in_both_orders_are_asked_for(files: int, tmp_path: Path) -> None:
    lines = [f"{n},{day},10.00,Paid" for n, day in enumerate(("13/01/2026", "15/01/2026", "02/03/2026", "01/14/2026"))]
    parts = [lines] if files == 1 else [lines[:3], lines[3:]]
    for name, part in zip("ab", parts, strict=False):
        written(tmp_path, f"{name}.csv", rows(*part, head=SHORT))
    text = flat(proposed(tmp_path / "*.csv"))
    assert (
        "QUESTION: days and months stand in both orders: 2 values can only be %d/%m/%Y, and 1 only %m/%d/%Y, which are "
        "rejected" in text
    )
    assert profile_of(proposed(tmp_path / "a.csv")).values.timestamp == ["%d/%m/%Y"]


def test_evidence_of_days_that_somebody_else_writes_decides_nothing(tmp_path: Path) -> None:
    for days, asked in (
        (("1/01/2026", "2/01/2026", "01/15/2026"), True),
        (("1/1/2026", "2/1/2026", "1/15/2026"), False),
    ):
        lines = (f"{n},{day},10.00,Paid" for n, day in enumerate(days))
        text = flat(proposed(written(tmp_path, "o.csv", rows(*lines, head=SHORT))))
        assert ("QUESTION: is %m/%d/%Y meant everywhere?" in text) == asked


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (("1767229200000", "1767232800000"), "milliseconds since 1970"),
        (("1767229200000000", "1767232800000000"), "microseconds since 1970"),
        (("46023.25", "46024"), "days as Excel counts them"),
    ],
)
def test_numbers_that_count_time_are_named_with_their_column(texts: tuple[str, ...], what: str, tmp_path: Path) -> None:
    path = written(tmp_path, "o.csv", rows(*(f"{n},{each},10.00,Paid" for n, each in enumerate(texts)), head=SHORT))
    assert f"A run needs it, and Date has {what} in 2 rows, which no format reads. Export dates" in flat(proposed(path))


def test_numbers_are_read_as_the_rest_of_a_german_file_is_written(tmp_path: Path) -> None:
    head, line = "Bestellung;Datum;Menge;Preis;Summe;Status", "{0};{0}.01.2026;2;1.250;2.500;bezahlt"
    path = written(tmp_path, "o.csv", rows(line.format(30), line.format(31), head=head))
    text = proposed(path)
    assert "4 numbers like 1.234: does this sign group thousands? Here, it does" in flat(text)
    assert report_of(tmp_path, path, text) == (2, "5000.00")


def test_files_whose_decimal_signs_differ_are_asked_for_by_name(tmp_path: Path) -> None:
    head = "order_no;item;qty;unit_price;total;state;created_at"
    written(tmp_path, "a.csv", rows("1;Desk;1;1,250.00;1,250.00;paid;2026-01-13", head=head))
    written(tmp_path, "b.csv", rows("3;Desk;1;250,00;250,00;paid;2026-01-13", head=head))
    text = flat(proposed(tmp_path / "*.csv"))
    assert "QUESTION: 1 of 2 files, as b.csv, have another decimal sign than ." in text
    assert "# QUESTION" not in proposed(tmp_path / "a.csv")


def test_ids_that_a_spreadsheet_took_for_numbers_are_asked_for(tmp_path: Path) -> None:
    line = '"{0}",u,west,kettle,3,7.25,21.75,card,success,2025-04-02'
    lost = rows(line.format("1,23457E+15"), line.format("1.23457E+15"), line.format("17"))
    assert "QUESTION: 2 ids are like 1.23E+15" in proposed(written(tmp_path, "o.csv", lost))


def test_percents_that_no_key_uses_are_no_form_of_amounts_and_are_told(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,card,success,2025-04-02,{1}%"
    head = "order_id,user_id,region,product,quantity,price,payment_mode,status,timestamp,Rabatt"
    text = proposed(written(tmp_path, "o.csv", rows(line.format(1, 10), line.format(2, 0), head=head)))
    assert "# Rabatt has percents, by which nothing is taken off" in text
    assert not profile_of(text).values.percent


def test_a_column_of_types_is_the_status_and_refunds_with_positive_amounts_are_told(tmp_path: Path) -> None:
    head = "order_id,type,item,qty,unit_price,amount,created"
    line = "M-{0},{1},Book,{2},20.00,{3},2026-10-25 00:30:00"
    sold = [line.format(1, "order", 1, "20.00"), line.format(2, "order", 2, "40.00")]
    path = written(tmp_path, "o.csv", rows(*sold, line.format(2, "refund", 1, "20.00"), head=head))
    text = proposed(path)
    assert profile_of(text).status == {"order": "success", "refund": "refunded"}
    assert '"refund": 1 row of these has a paid order\'s id and an amount that is not negative.' in flat(text)
    assert report_of(tmp_path, path, text) == (2, "60.00")
    negative = rows(*sold, line.format(2, "refund", -1, "-20.00"), head=head)
    assert "no key turns a sign" not in flat(proposed(written(tmp_path, "o.csv", negative)))


def test_flags_and_dates_that_say_that_an_order_may_not_count_are_asked_for(tmp_path: Path) -> None:
    head = "id,date,customer,amount,status,test,refunded,Cancelled at"
    lines = (
        "1,2026-01-13,A,30.00,paid,f,0,",
        "2,2026-01-13,B,20.00,paid,t,1,",
        "3,2026-01-13,C,5.00,paid,f,0,2026-02-01",
    )
    path = written(tmp_path, "o.csv", rows(*lines, head=head))
    text = proposed(path)
    assert report_of(tmp_path, path, text) == (3, "55.00")
    assert '# QUESTION: test is "t" in 1 row' in text
    assert '# QUESTION: refunded is "1" in 1 row' in text
    assert "# QUESTION: Cancelled at is filled in 1 row whose status is paid" in text
    cancelled = text.replace('# where = [{"test"', 'where = [{"test"').replace('# cancelled = "*"', 'cancelled = "*"')
    joined = cancelled.replace('status = "status"', 'status = {join = ["status", "Cancelled at"]}')
    again = tmp_path / "again"
    again.mkdir()
    assert report_of(again, path, joined) == (1, "30.00")


def test_lines_that_a_later_file_has_again_are_asked_for_with_a_key(tmp_path: Path) -> None:
    head, line = "Order,Line,Date,SKU,Qty,Price,Line total,Status", "{0},{1},2026-01-{0},S{1},1,10.00,10.00,paid"
    for name, orders in {"a": (13, 14), "b": (14, 15)}.items():
        written(tmp_path, f"{name}.csv", rows(*(line.format(each, n) for each in orders for n in (1, 2)), head=head))
    text = proposed(tmp_path / "*.csv")
    assert "order_id and Line tell all lines apart, and 2 rows stand in a later file again" in flat(text)
    answered = text.replace("# key = ", "key = ").replace("# repeats = ", "repeats = ")
    assert report_of(tmp_path, tmp_path / "*.csv", answered) == (3, "60.00")


def test_an_order_that_a_later_file_has_again_is_no_order_of_two_lines(tmp_path: Path) -> None:
    line = "{0},u,west,kettle,3,7.25,21.75,card,{1},2025-04-02"
    written(tmp_path, "a.csv", rows(line.format(1, "pending"), line.format(2, "success")))
    head = HEAD.replace("price", "unit_price")
    written(tmp_path, "b.csv", rows(line.format(1, "success"), line.format(3, "success"), head=head))
    text = proposed(tmp_path / "*.csv")
    assert '# repeats = "last"' in text
    answered = text.replace("# repeats = ", "repeats = ")
    assert report_of(tmp_path, tmp_path / "*.csv", answered) == (3, "65.25")


def test_two_currencies_are_asked_for(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,21.75,card,success,2025-04-02,{1}"
    codes = ["usd", "USD", "JPY"]
    text = proposed(
        written(tmp_path, "o.csv", rows(*(line.format(*each) for each in enumerate(codes)), head=f"{HEAD},currency"))
    )
    order = profile_of(text).order
    assert (order.currency, order.report_currency) == ("currency", "USD")
    assert "USD 2, JPY 1" in text
    assert '# report_currency = "JPY"' in text


def test_a_glob_gives_one_profile_for_renamed_columns_and_two_encodings(tmp_path: Path) -> None:
    line = "K{0},u,west,théière,3,7.25,21.75,card,success,2025-04-02"
    written(tmp_path, "1.csv", rows(line.format(1)), "cp1252")
    written(tmp_path, "2.csv", rows(line.format(2), head=HEAD.replace("price", "unit_price")))
    text = proposed(tmp_path / "*.csv")
    profile = profile_of(text)
    assert profile.columns["price"].names == ["price", "unit_price"]
    assert profile.file.encodings == [("*", ["utf-8", "cp1252"])]
    assert "2 of 2 files" in text
    assert report_of(tmp_path, tmp_path / "*.csv", text) == (2, "43.50")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv.gz", "utf-16"])
def test_other_formats_are_looked_at_too(kind: str, tmp_path: Path) -> None:
    names = ["Bestellnummer", "Anzahl", "Einzelpreis", "Summe", "Status", "Datum"]
    values = [("A1", "2", "7,25", "14,50", "bezahlt", "31.01.2026"), ("A2", "1", "4,00", "4,00", "offen", "01.02.2026")]
    path = tmp_path / f"orders.{kind}"
    text = rows(*(";".join(row) for row in values), head=";".join(names))
    if kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in values))
    elif kind == "parquet":
        pq.write_table(pa.table([list(each) for each in zip(*values, strict=True)], names), path)
    else:
        path.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.encode("utf-16"))
    proposal = proposed(path)
    assert report_of(tmp_path, path, proposal) == (1, "14.50")


def test_a_large_file_is_looked_at_in_part_and_its_footer_all_the_same(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,21.75,card,success,2025-04-02"
    path = written(tmp_path, "o.csv", rows(*(line.format(n) for n in range(80_000)), "", "(80000 rows affected)"))
    text = proposed(path)
    assert "the first 10,000 rows" in text
    assert profile_of(text).file.footer_lines == 2


def test_a_row_that_is_cut_off_is_no_footer(tmp_path: Path) -> None:
    line = "K{0},u,west,kettle,3,7.25,21.75,card,success,2025-04-02"
    text = proposed(written(tmp_path, "o.csv", rows(*(line.format(n) for n in range(9))) + "K9,u,west,kettle,3"))
    assert profile_of(text).file.footer_lines == 0
    assert "In 1 row, the number of fields is another one" in text


def test_a_preset_that_fits_is_proposed_as_it_stands_with_statuses_that_it_does_not_name(tmp_path: Path) -> None:
    export = TESTS.parent / "examples/exports/shopify.csv"
    text = proposed(export)
    assert "--profile shopify reads it as it is" in text
    assert text.endswith(presets()["shopify"])
    assert "QUESTION:" not in text
    other = proposed(written(tmp_path, "s.csv", export.read_text().replace(",paid,", ",on the way,")))
    assert "what do these of Financial Status mean? Unless [status] names them, they are\n# rejected: " in other
    assert "preset" not in proposed(written(tmp_path, "o.csv", rows("1,2,3,4,5,6,7,8,9,10")))


def test_a_sum_below_the_orders_of_a_preset_that_fills_down_is_asked_for(tmp_path: Path) -> None:
    export = (TESTS.parent / "examples/exports/odoo.csv").read_text()
    columns = export.partition("\n")[0].count(",")
    assert "QUESTION: are these sums?" not in proposed(written(tmp_path, "o.csv", export))
    assert "QUESTION: are these sums? 1 row" in flat(
        proposed(written(tmp_path, "s.csv", export + "," * columns + "9.99\n"))
    )


def test_what_is_said_of_a_preset_is_true_of_the_file(tmp_path: Path) -> None:
    line = '1,"u","r","p",1,.5,.5,"c","success","31-JAN-26"'
    as_it_is = rows(line, head=HEAD.upper())
    path = written(tmp_path, "o.csv", as_it_is)
    text = proposed(path)
    assert "--profile oracle reads it as it is" in text
    assert "# QUESTION" not in text
    assert (
        json.loads(inline.run(tmp_path / "as", str(path), profile="oracle")["report/analytics_report.json"])["orders"]
        == 1
    )
    blank = written(tmp_path, "blank.csv", f"\n{as_it_is}")
    assert "--profile oracle reads it as it is" in proposed(blank)
    report = inline.run(tmp_path / "blank", str(blank), profile="oracle")["report/analytics_report.json"]
    assert json.loads(report)["orders"] == 1
    other = written(tmp_path, "other.csv", "Orders\n" + as_it_is.replace(",", ";"))
    text = proposed(other)
    assert "with delimiter and skip_lines of this file" in flat(text)
    assert report_of(tmp_path, other, text) == (1, "0.50")
    days = proposed(written(tmp_path, "days.csv", as_it_is.replace("31-JAN-26", "31/01/2026")))
    assert "QUESTION: 1 of 1 times of TIMESTAMP are not written as %d-%b-%y" in flat(days)
    assert '# timestamp = ["%d-%b-%y", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y"]' in days


@pytest.mark.parametrize("text", ['a "b" \\c', "x\ny", "\u202e", "\x7f", "\0", r"\N", "it's \\", "\U000e0100", "é€"])
def test_any_text_stands_in_toml_as_it_is(text: str) -> None:
    assert profile_of(f"[file]\nnulls = [{quoted(text)}]").file.nulls == [text]
    assert quoted(text).isprintable()


def test_the_command_writes_a_profile_to_stdout_and_what_comes_next_to_stderr(tmp_path: Path) -> None:
    path = written(tmp_path, "my orders.csv", rows("K0,u,west,kettle,3,7.25,21.75,card,success,2025-04-02"))
    ran = CliRunner().invoke(main, ["profile", "propose", str(path)])
    assert ran.exit_code == 0
    assert profile_of(ran.stdout).columns["price"].names == ["price"]
    assert ran.stderr.splitlines() == [NEXT.format(f"--input '{path}'")]


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing.csv", "nothing.csv names no file"), (".", "is a folder: give a glob"), ("", "FILE is empty")],
)
def test_what_is_no_file_is_one_sentence(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["profile", "propose", name])
    assert isinstance(ran.exception, DaskjobsError)
    assert words in str(ran.exception)
    assert "--input" not in str(ran.exception)


TIMED = "id,created,{},email,sku,qty,price,total\n"
LINES = "order_no,customer,date,item,qty,price,{},status\n"
OTHER_READINGS = {
    # The price without VAT, or with it: 11.90 + 23.80.
    "net and gross": (
        "order,date,customer,item,qty,net price,net total,vat,gross total,state\n"
        "1,2026-03-14,a,x,1,10.00,10.00,1.90,11.90,paid\n2,2026-03-14,a,y,2,10.00,20.00,3.80,23.80,paid\n",
        "is net total or gross total the order's total?",
        {
            'total_amount = "net total"': 'total_amount = "gross total"',
            "[status]": '[order]\nwithout_rules = ["wrong_total"]\n[status]',
        },
        ("30.00", "35.70"),
    ),
    # Each line has the refund of its order: 10 + 15 + 10 less 5, and not less 10.
    "the order's refund on each line": (
        LINES.format("line_total,refunded")
        + "1,a,2026-03-14,x,1,10.00,10.00,5.00,paid\n1,a,2026-03-14,y,1,15.00,15.00,5.00,paid\n"
        "2,b,2026-03-15,x,1,10.00,10.00,0.00,paid\n",
        "all lines have the same refund in 1 of 1 orders of several",
        {"# fill_down = ": "fill_down = "},
        ("25.00", "30.00"),
    ),
    # A column that is amounts, and says by its name that they went back.
    "a refund of an unknown name": (
        LINES.format("total,sum of refunds")
        + "1,a,2026-03-14,x,1,10.00,10.00,5.00,paid\n2,b,2026-03-15,x,1,10.00,10.00,0.00,paid\n",
        "sum of refunds has amounts in 1 row: were these given back?",
        {"# refunds = ": "refunds = "},
        ("20.00", "15.00"),
    ),
    "orders of a test": (
        LINES.format("total,mode")
        + "1,a,2026-03-14,x,1,10.00,10.00,live,paid\n2,b,2026-03-15,x,1,15.00,15.00,test,paid\n"
        "3,b,2026-03-15,x,1,7.00,7.00,test,failed\n",
        'mode is "test" in 1 row',
        {"# where = ": "where = "},
        ("25.00", "10.00"),
    ),
    "refunds as rows with positive amounts": (
        LINES.format("total,type")
        + "1,a,2026-03-14,x,1,10.00,10.00,Sale,completed\n2,b,2026-03-15,x,1,15.00,15.00,Refund,completed\n",
        'type is "Refund" in 1 row',
        {"# where = ": "where = "},
        ("25.00", "10.00"),
    ),
    "a second status": (
        LINES.format("total,payment_status")
        + "1,a,2026-03-14,x,1,10.00,10.00,paid,completed\n2,b,2026-03-15,x,1,15.00,15.00,voided,completed\n",
        'payment_status is "voided" in 1 row',
        {"# where = ": "where = "},
        ("25.00", "10.00"),
    ),
    "times of payment": (
        TIMED.format("paid at") + "1,2026-03-14,2026-03-15,a,x,1,10.00,10.00\n2,2026-03-14,,a,x,2,10.00,20.00\n",
        "paid at is filled in 1 of 2 rows: are these paid?",
        {'# status = "paid at"': 'status = "paid at"', "[columns]": '[status]\npending = ""\nsuccess = "*"\n[columns]'},
        ("30.00", "10.00"),
    ),
    "times of cancellation": (
        TIMED.format("cancelled at") + "1,2026-03-14,2026-03-15,a,x,1,10.00,10.00\n2,2026-03-14,,a,x,2,10.00,20.00\n",
        "cancelled at is filled in 1 of 2 rows: are these cancelled?",
        {
            '# status = "cancelled at"': 'status = "cancelled at"',
            "[columns]": '[status]\nsuccess = ""\ncancelled = "*"\n[columns]',
        },
        ("30.00", "20.00"),
    ),
}


@pytest.mark.parametrize("name", OTHER_READINGS)
def test_two_readings_are_a_question_and_the_other_answer_gives_the_other_revenue(name: str, tmp_path: Path) -> None:
    text, question, answers, (as_proposed, answered) = OTHER_READINGS[name]
    path = written(tmp_path, "o.csv", text)
    proposal = proposed(path)
    assert f"QUESTION: {question}" in flat(proposal)
    for folder, profile, revenue in (
        (tmp_path / "a", proposal, as_proposed),
        (tmp_path / "b", replaced(proposal, answers), answered),
    ):
        folder.mkdir()
        assert report_of(folder, path, profile)[1] == revenue


def replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (
            LINES.format("total").replace("price", "Price (cents)") + "1,a,2026-03-14,x,1,1000,1000,paid\n",
            "does Price (cents) have cents, as the name says?",
        ),
        (
            LINES.format("priceCents,totalCents").replace("price,", "")
            + "1,a,2026-03-14,x,1,1000,1000,paid\n1,a,2026-03-14,x,2,1000,2000,paid\n",
            "do priceCents and totalCents have cents, as the name says?",
        ),
        (
            LINES.format("line_total,shipping")
            + "1,a,2026-03-14,x,1,10.00,10.00,5.00,paid\n1,a,2026-03-14,y,1,15.00,15.00,5.00,paid\n",
            "shipping is in no line's total, and doesn't count",
        ),
    ],
)
def test_what_no_key_can_say_is_said_to_whoever_reads_the_proposal(tmp_path: Path, text: str, question: str) -> None:
    assert f"QUESTION: {question}" in flat(proposed(written(tmp_path, "o.csv", text)))


def test_nothing_is_asked_where_the_other_reading_says_the_same(tmp_path: Path) -> None:
    text = (
        LINES.format("total,grand total,type,payment status,refunded")
        + "1,a,2026-03-14,x,1,10.00,10.00,10.00,Sale,paid,0.00,completed\n"
        "2,b,2026-03-15,x,1,15.00,15.00,15.00,Refund,voided,0.00,cancelled\n"
    )
    assert "QUESTION:" not in proposed(written(tmp_path, "o.csv", text))
