"""Proposals: files that nobody has seen before are read by the profile that is proposed for them, and come out right.

Each of `EXPORTS` is written as its source writes (design notes on exports); its orders and revenue are worked out by
hand beside it, with the profile as it is proposed, whatever questions it has.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import inline
from daskjobs.files.storage import Storage
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.proposal import WIDTH, propose
from daskjobs.orders.profiles.reading import parse_profile, presets
from daskjobs.orders.profiles.sampling import take
from daskjobs.orders.sources.inputs import find_inputs

PRESETS = {name: parse_profile(text, name) for name, text in presets().items()}
MOST_LINES = 66
HEAD = "order_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp"


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
1\tu1\twest\tkettle\t2\t7.25\t14.50\tcard\tsuccess\t2026-01-31 12:00:00.5+00
2\tu2\teast\tmug\\twith tab\t1\t4.00\t4.00\t\\N\tsuccess\t2026-02-01 12:00:00+00
3\t\\N\teast\tback\\\\slash\t1\t4.00\t4.00\tcash\tfailed\t2026-02-02 12:00:00+00
\\.
""",
        says={
            "file.delimiter": "\t",
            "file.quoting": "backslash",
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
            "order.fill_down": ["order_id", "user_id", "status", "timestamp", "total"],
            "order.total": ["Total"],
        },
        orders=2,
        revenue="169.40",
        asks=("the order's own total",),
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


def proposed(pattern: str | Path) -> str:
    names = list(find_inputs(str(pattern)))
    return propose(take(Storage("/"), names), PRESETS, len(names))


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


def rows(*lines: str, head: str = HEAD) -> str:
    return "\n".join([head, *lines]) + "\n"


def report_of(folder: Path, pattern: str | Path, proposal: str) -> tuple[int, str]:
    profile = written(folder, "mine.toml", proposal)
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
