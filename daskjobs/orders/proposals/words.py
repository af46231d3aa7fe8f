"""The words of shops: names of columns, statuses and sums in eight languages, as a proposal knows them.

Names are written as `plain` makes them: small letters and digits alone, without accents. The order is that of
preference.
"""

import re
import unicodedata

from daskjobs.orders.schema import PAID, STATUSES

_LETTERS = str.maketrans({"ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "ß": "ss", "đ": "d", "#": "no", "№": "no"})
_NUMBER = re.compile(r"n[°º]")


def plain(text: str) -> str:
    """Return a name without accents, blanks, signs and capitals.

    >>> plain("N° de Pedido"), plain("Währung"), plain("Order #")
    ('nodepedido', 'wahrung', 'orderno')
    """
    text = _NUMBER.sub("no", text.casefold()).translate(_LETTERS)
    return re.sub(r"[^0-9a-z\u0080-\uffff]|[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Which names each column of ours has in files, and what else a proposal looks for.
NAMES = {
    "order_id": """orderid orderno ordernumber ordername orderreference orderref order ordernr salesorder
        salesordernumber salesordernum salesdocument documentnumber documentno bestellnummer bestellnr
        bestellungsnummer bestellung auftragsnummer auftragsnr auftrag belegnummer belegnr verkaufsbeleg vbeln
        numerocommande nocommande numerodecommande nodecommande idcommande referencecommande commande numeropedido
        numerodepedido nopedido nodepedido pedido idpedido numeroordine noordine nordine idordine ordine ordineno
        numerodordine codiceordine numerozamowienia nrzamowienia numerzamowienia idzamowienia zamowienie
        bestelnummer bestelnr bestelling bestellingid ordernummer numeroencomenda idencomenda encomenda
        invoicenumber invoiceno rechnungsnummer rechnungsnr rechnung factura numerofactura numerofacture facture
        fattura faktura nrfaktury factuurnummer transactionid transactioncode transaktionscode tranid receiptid
        receiptno receiptnumber receipt bon bonnr bonnummer internalid salesrecordnumber id reference referenz number
        nummer name""",
    "user_id": """userid customerid customerno customernumber customer clientid buyerid buyerusername userno
        kundennummer kundennr kundenid kunde auftraggeber kunnr soldto soldtoparty numeroclient idclient codeclient
        client idcliente codicecliente codigocliente numerocliente cliente idklienta nrklienta klient kontrahent
        klantnummer klantid klant accountid customername customeremail buyer user account accountname email
        emailaddress name""",
    "region": """region shippingprovince shippingregion shipstate shippingstate shippingcountry shipcountry
        deliverycountry shiptocountry shiptostate country countrycode lieferland bundesland gebiet land pays pais
        paese regione provincia kraj wojewodztwo regiao provincie billingprovince billingcountry billingstate
        territory salesregion market store location state estado kanton canton cantone versandland rechnungsland
        destination city ort stadt ville ciudad citta miasto cidade""",
    "product": """product productname lineitemname itemname itemtitle item productid lineitemsku sku productsku asin
        article articleno artikel artikelname artikelbezeichnung artikelnummer artikelnr produkt produktname
        bezeichnung material materialbezeichnung matnr produit nomduproduit libelle designation producto articulo
        prodotto articolo nazwaproduktu towar nazwa produto artigo orderlinesproduct orderlineproductidid products
        productos productdetails descrizione descripcion description beschreibung title""",
    "quantity": """quantity qty lineitemquantity quantitypurchased quantityordered qtyordered itemquantity itemqty
        orderlinesquantity orderqty orderquantity itemssold units unitssold pieces menge anzahl stuck stueck stk
        bestellmenge auftragsmenge kwmeng quantite qte nombre cantidad cant unidades quantita qta quant pezzi ilosc
        liczbasztuk sztuk szt aantal hoeveelheid stuks quantidade qtd qtde quantid totalquantity numberofitems
        count""",
    "price": """price unitprice itemrate unitrate priceeach lineitemprice itemprice productprice productunitprice
        priceperunit saleprice sellingprice itemcost orderlinesunitprice rate preis einzelpreis stuckpreis
        stueckpreis vkpreis nettopreis netpr prix prixunitaire prixunit pu puht prixunitaireht precio
        preciounitario preciounidad preciounit prezzo prezzounitario prezzounit cena cenajednostkowa cenajedn
        cenaszt cenabrutto cenanetto prijs stukprijs eenheidsprijs prijsperstuk preco precounitario valorunitario""",
    "line_total": """linetotal lineitemtotal itemtotal lineamount itemsubtotal orderlinesubtotal orderlinessubtotal
        orderlinestotal extendedprice extendedamount rowtotal positionswert positionssumme zeilensumme nettowert
        netwr gesamtpreis totalligne montantligne totallinea importelinea totaleriga importoriga wartoscpozycji
        wartosc regeltotaal regelbedrag totallinha""",
    "total": """totalamount ordertotalamount ordertotal ordertotalinctax grandtotal grandtotalpurchased grandtotalbase
        total totalprice totalcollected totalpaid ordervalue orderamount amounttotal amountpaid gesamtbetrag
        gesamtsumme gesamt summe rechnungsbetrag endbetrag totalttc montantttc montanttotal montant importetotal
        importe totaleordine totale importototale importo razem suma kwota kwotarazem wartoscbrutto
        wartosczamowienia dozaplaty totaal totaalbedrag orderbedrag bedrag valortotal totalpedido totaldopedido
        valor revenue sales gross grossamount brutto bruttobetrag brut lordo amount betrag netsales nrevenue
        netamount netvalue net netto subtotal
        grosstotal totalgross gesamtbrutto totalbrutto bruttosumme summebrutto nettotal totalnet gesamtnetto totalnetto
        nettosumme summenetto totalinclvat totalincltax totalexclvat totalexcltax totalexvat totalht""",
    "payment_mode": """paymentmode paymentmethod paymentmethodtitle paymenttype paymentsourcetype payment payby tender
        tendertype zahlungsart zahlungsmethode zahlungsweise zahlart bezahlmethode moyendepaiement modedepaiement
        modepaiement modereglement paiement reglement metododepago mediodepago formadepago metodopago formapago
        pago metododipagamento metodopagamento pagamento modalitadipagamento metodaplatnosci formaplatnosci
        platnosc sposobplatnosci betaalmethode betaalwijze betaling formadepagamento metododepagamento
        formapagamento gateway cardbrand cardtype""",
    "status": """financialstatus paymentstatus status orderstatus state paymentstate orderstate itemstatus
        transactionstatus zahlungsstatus bestellstatus auftragsstatus statuspaiement statut statutcommande etat
        etatcommande estado estadopedido estadodelpedido estadodepago stato statoordine statodellordine
        statopagamento statuszamowienia statusplatnosci stan bestelstatus betaalstatus situacao statuspedido
        statusdopedido stagename stage paid bezahlt paye pagado pagato oplacone betaald pago eventtype result
        fulfillmentstatus zustand bearbeitungsstatus vorgangsstatus""",
    "timestamp": """timestamp createdat orderdate purchasedate orderdatetime ordercreatedat ordercreated createddate
        createddateutc createdutc createdon createdtime created datecreated orderedat orderedon placedat saledate
        purchasedat transactiondate trandate bestelldatum auftragsdatum belegdatum erstelltam angelegtam audat
        erdat datum rechnungsdatum datecommande datedecommande datedelacommande datedecreation fechapedido
        fechadepedido fechadelpedido fechacreacion fecha dataordine datadellordine dataeora datazamowienia
        datautworzenia datazlozenia orderdatum besteldatum datapedido datadopedido datadacompra date data datetime
        dateutc invoicedate paidat datepaid paidon paidondate paymentdate processedat closedate effectivedate
        postingdate time""",
    "time": "time ordertime uhrzeit zeit heure hora ora godzina czas tijd",
    "currency": """currency currencycode ordercurrency ordercurrencycode currencyisocode currencyiso wahrung waehrung
        devise monnaie moneda divisa valuta waluta moeda waers waerk wrg waehrg wahrg whrg curr ccy iso isocode
        totalpricecurrency totalcurrency amountcurrency""",
    "refunds": """refundedamount amountrefunded refundamount totalrefunded totalrefundedamount refunds refund refunded
        partialrefunds orderrefundamount orderrefund orderrefunds refundtotal refundedtotal amtrefunded
        erstattet erstattung erstattungsbetrag ruckerstattung rembourse
        montantrembourse remboursement reembolso reembolsado importereembolsado importeporreembolsar rimborso
        rimborsato importorimborsato zwrot kwotazwrotu terugbetaald terugbetaling restituicao""",
    "line": """line lineno linenumber lineid linenum lineitemid orderitemid itemno pos posnr posno position zeile ligne
        nolinea linea riga pozycja lp regel linha transactionid orderlineid""",
    "subtotal": """subtotal zwischensumme warenwert soustotal subtotale imponibile sumaczesciowa subtotaal
        subtotalextax itemstotal untaxedamount netamount""",
    "shipping": """shipping shippingcost shippingamount shippingandhandling ordershipping postage versand versandkosten
        porto livraison fraisdeport fraisdelivraison envio gastosdeenvio spedizione spesedispedizione dostawa
        kosztdostawy wysylka verzendkosten verzending frete shippingcostextax delivery freight""",
    "tax": """tax taxes taxamount salestax taxtotal ordertax vat vatamount mwst ust mehrwertsteuer steuer tva taxe iva
        impuestos imposta podatek vatpln btw imposto""",
    "discount": """discount discountamount discounts discounttotal couponamount couponvalue rabatt nachlass gutschein
        remise reduction descuento sconto rabat znizka korting desconto""",
}
NAMES_OF = {role: {name: rank for rank, name in reversed([*enumerate(text.split())])} for role, text in NAMES.items()}
KNOWN = {name for names in NAMES_OF.values() for name in names}

# What statuses mean. A text that isn't here is left to whoever reads the proposal.
_STATUSES = {
    "success": """success succeeded successful paid paidinfull complete completed processing processed shipped
        delivered fulfilled partiallyfulfilled partiallyshipped partiallyrefunded partialrefund unshipped captured
        settled approved accepted paymentaccepted remotepaymentaccepted paymentreceived
        paymentcomplete paymentcompleted processinginprogress
        onbackorderpaid awaitingfulfillment awaitingshipment awaitingpickup closed done sale salesorder closedwon
        activated billed salesorderbilled invoicepaidinfull salesorderpendingfulfillment ok confirmed locked
        charged charge sold invoiced bezahlt versendet versandt geliefert zugestellt abgeschlossen erledigt
        fakturiert berechnet inbearbeitung teilweiseerstattet paye payee payes regle reglee expedie expediee livre
        livree termine terminee terminado pagado pagada completado completada enviado enviada entregado entregada
        procesando cobrado pagato pagata completato completata evaso evasa spedito spedita consegnato consegnata
        inlavorazione oplacone oplacony oplacona zaplacone zaplacono zrealizowane zrealizowano wyslane wyslano
        dostarczone zakonczone betaald voltooid verzonden geleverd afgerond inbehandeling pago paga concluido
        concluida entregue aprovado aprovada faturado""",
    "pending": """pending paymentpending pendingpayment onhold hold new open authorized authorised partiallypaid
        awaitingpayment awaitingbankwirepayment awaitingcheckpayment awaitingcheckoutpayment onbackorder
        onbackordernotpaid uncaptured unpaid incomplete draft checkoutdraft quotation quotationsent created
        inprogress manualverificationrequired salesorderpendingapproval disputed waiting offen ausstehend unbezahlt
        wartend zahlungausstehend vorkasse nichtbezahlt neu enattente enattentedepaiement nonpaye impaye impayee notpaid
        enattentedepaiementparcheque brouillon pendiente pendientedepago enespera nopagado borrador inattesa
        inattesadipagamento nonpagato dapagare sospeso oczekujace oczekuje oczekujenaplatnosc nieoplacone nowe
        wtrakcie inafwachting openstaand nietbetaald wachtopbetaling nieuw pendente aguardando aguardandopagamento
        naopago emespera""",
    "cancelled": """cancelled canceled cancel voided void expired salesordercancelled closedlost abandoned deleted
        rejected storniert annulliert abgebrochen stornierung storno annule annulee annulees cancelado cancelada
        anulado anulada annullato annullata anulowane anulowano anulowana geannuleerd""",
    "refunded": """refunded refund fullyrefunded returned reversed chargeback chargedback paymentrefund erstattet
        ruckerstattet zuruckerstattet retourniert gutgeschrieben ruckgabe rembourse remboursee rembourses
        reembolsado reembolsada devuelto devuelta rimborsato rimborsata reso zwrocone zwrot zwrocono terugbetaald
        geretourneerd retour devolvido devolvida estornado""",
    "failed": """failed failure error declined denied paymenterror blocked paymentfailed fehlgeschlagen abgelehnt
        fehler echoue echouee echec refuse refusee erreur fallido fallida rechazado rechazada fallito fallita
        rifiutato nieudane odrzucone blad mislukt geweigerd falhou recusado recusada falhado""",
}
TYPES = _words("order purchase verkauf kauf vente venta vendita")  # of rows: they say nothing beside another word
STATUS_OF = (
    {word: ours for ours, text in _STATUSES.items() for word in text.split()}
    | dict.fromkeys(TYPES, PAID)
    | {each: each for each in STATUSES}
)
YES = _words("""true t yes y 1 ja j oui o si s sim tak wahr vrai vero verdadero verdadeiro prawda x""")
NO = _words("""false f no n 0 nein non nie nao falsch faux falso falsz""")
# Columns of yes and no, and of times, that say of a paid order that it may not count.
FLAGS = _words("""test istest testorder testmode refunded cancelled canceled iscancelled iscanceled deleted isdeleted
    void voided isvoid storniert storno geloscht testbestellung annule annulato annullato cancelado anulado""")
ENDED = _words("""cancelledat canceledat cancelledon canceledon cancelleddate canceleddate cancellationdate voidedat
    refundedat deletedat storniertam stornodatum annulele dateannulation fechacancelacion""")
PAID_AT = _words("""paidat datepaid paidon paidondate paymentdate bezahltam bezahldatum zahlungsdatum payele
    datepaiement datedepaiement fechapago fechadepago datapagamento dataplatnosci betaaldatum betaaldop datapago""")
# What a row is in a column besides its status, if it is no sale. A column of these says it of a whole order or line.
NO_SALE = _words("""test testing sandbox demo dummy gutschrift creditnote creditmemo credit avoir notadecredito
    notacredito notadicredito korekta creditnota chargeback return""")
REFUND_STEMS = ("refund", "erstatt", "rembours", "reembols", "rimbors", "zwrot", "zwroc", "terugbeta")
CENTS = _words("cent cents ct pence pennies minor centimes centavos centimos centesimi grosz groszy")
TOTALS = _words(
    """total totals grandtotal overalltotal subtotal sum summe gesamt gesamtsumme zwischensumme general totalgeneral
    soustotal suma razem somme totale totali totalegenerale totaal subtotaal totaisgerais insgesamt endsumme ogolem
    sumarazem pagetotal reporttotal tagessumme bonsumme belegsumme auftragssumme rechnungssumme ordertotal invoicetotal
    totalecomplessivo totaleordine totalcommande totalpedido"""
)
NULLS = (
    r"\N", "NULL", "null", "(null)", "<null>", "<NULL>", "- None -", "NaN", "nan", "NaT", "#N/A", "#NULL!", "<NA>", "\0"
)  # fmt: skip
CODES = _words(
    """AED ARS AUD BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR JPY KRW KWD MAD MXN MYR NOK
    NZD PEN PHP PLN QAR RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR"""
)
NO_CENTS = _words("CLP JPY KRW VND")
SIGNS = (
    "AU $", "US $", "C $", "AU$", "US$", "CA$", "NZ$", "HK$", "NT$", "MX$", "R$", "S$", "A$", "C$", "zł", "Kč", "kr.",
    "kr", "Ft", "lei", "Lei", "SFr.", "Fr.", "Rs.", "Rs", "лв", "\u0440\u0443\u0431.",
)  # fmt: skip
