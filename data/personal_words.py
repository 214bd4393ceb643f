"""What personal data does a column's name announce, in the languages that people name columns in?

Names are read as words ("CustomerEmail", "customer_email", "E-Mail (Kunde)"), without accents. There is no library for this:
the words below are the usual ones of English, German, French, Spanish, Portuguese, Italian, Dutch, Japanese and Chinese tables.
"""

from __future__ import annotations

import re
import unicodedata

#: What a column of this word, or of these words run together, is said to hold. First come, first served.
_WORDS: tuple[tuple[str, str], ...] = (
    ("email", "email emails mail emailaddress mailadresse courriel correo correoelectronico emailadres posta"),
    (
        "phone",
        "phone telephone tel mobile cell cellphone fax phonenumber telefon telefonnummer handy handynummer mobil mobilnummer",
    ),
    ("phone", "rufnummer telefax portable telefono telefone movil celular cellulare telefoon mobiel"),
    (
        "iban",
        "iban bankaccount bankaccountnumber kontonummer kontonr bankverbindung comptebancaire cuentabancaria contobancario",
    ),
    ("card", "creditcard creditcardnumber cardnumber ccnumber ccnum kreditkarte kreditkartennummer kartennummer cartebancaire"),
    ("card", "cartedecredit numerodecarte numerocarte tarjeta tarjetadecredito numerotarjeta cartaocredito cartadicredito"),
    (
        "ssn",
        "ssn socialsecurity socialsecuritynumber nationalid nationalidnumber passport passportnumber passportno nin nino taxid",
    ),
    (
        "ssn",
        "taxnumber personalnumber driverlicense driverslicense steuerid steuernummer sozialversicherungsnummer svnummer svnr",
    ),
    (
        "ssn",
        "rentenversicherungsnummer personalausweis ausweisnummer reisepass nir insee securitesociale numerodesecuritesociale",
    ),
    ("ssn", "numerosecu dni nif nie nss pasaporte seguridadsocial codicefiscale cpf curp pesel bsn aadhaar"),
    ("username", "username login loginname nickname benutzername nomutilisateur nombreusuario screenname"),
    (
        "address",
        "address addr street streetaddress address1 adresse anschrift strasse strassenname wohnanschrift rue direccion",
    ),
    ("address", "domicilio calle indirizzo endereco adres adress ulica"),
    ("postcode", "zip zipcode postcode postalcode postal plz postleitzahl codepostal codigopostal cep cap"),
    ("city", "city town stadt wohnort ville commune ciudad poblacion municipio citta comune cidade"),
    (
        "birth_date",
        "birthday birthdate dateofbirth dob born geburtsdatum geburtstag datedenaissance naissance fechadenacimiento",
    ),
    ("birth_date", "fechanacimiento nacimiento datadinascita datanascimento"),
    ("first_name", "firstname forename givenname fname vorname rufname prenom nombredepila primernombre voornaam fornamn imie"),
    ("last_name", "lastname surname familyname lname nachname familienname zuname nomdefamille apellido apellidos cognome"),
    ("last_name", "sobrenome achternaam efternamn nazwisko maidenname geburtsname"),
    ("name", "fullname contactname customername clientname patientname employeename personname holdername cardholder"),
    (
        "name",
        "accountholder studentname drivername ownername legalname vollname kundenname patientenname ansprechpartner nomcomplet",
    ),
    ("name", "nomclient nompatient nombrecompleto nombreyapellidos titular nomecompleto contactperson kontaktperson"),
    ("maybe_name", "name names nom nombre nome naam namn contact customer client patient employee person kunde mitarbeiter"),
    (
        "maybe_name",
        "author composer director doctor physician teacher manager owner seller agent witness signer autor arzt lehrer",
    ),
)
#: In scripts without blanks a word is found anywhere in the name.
_SIGNS: tuple[tuple[str, str], ...] = (
    ("email", "メール 邮箱 電子郵件 电子邮件"),
    ("phone", "電話 携帯 电话 手机"),
    ("iban", "口座番号 银行账号"),
    ("card", "クレジットカード カード番号 信用卡"),
    ("ssn", "マイナンバー 個人番号 身份证 パスポート 护照"),
    ("postcode", "郵便番号 邮编 邮政编码"),
    ("address", "住所 地址"),
    ("city", "市区町村"),
    ("birth_date", "生年月日 誕生日 出生日期"),
    ("name", "氏名 姓名 お名前"),
    ("maybe_name", "名前 名字"),
    ("last_name", "姓 苗字"),
    ("first_name", "下の名"),
)
#: A word beside which the others mean no person: "ip_address", "product_name", "city_name", "phone_service".
_ELSE: dict[str, frozenset[str]] = {
    "address": frozenset("ip mac web url wallet memory email mail e byte".split()),
    "maybe_name": frozenset(
        "product item brand model file host domain company firm city town state country region street event station species "
        "class column field table category genre artist album track song title team game app package version group department "
        "id type status segment count number age value score since store shop produkt firma stadt produit entreprise producto "
        "empresa".split()
    ),
    "phone": frozenset("service services type model brand brands plan count calls minutes".split()),
    "email": frozenset("service services type count opt optin consent".split()),
    "card": frozenset("type brand provider network".split()),
}
_SPLIT = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def announced(name: str) -> str | None:
    """What a column called so should hold: "email", "phone", "first_name", "maybe_name", ...; None where it says nothing.

    "maybe_name" is what "name" and "customer" alone say: a person's name only where the values are such, too."""
    for what, signs in _SIGNS:
        if any(sign in name for sign in signs.split()):
            return what
    tokens = _tokens(name)
    joined = {"".join(tokens[i:j]) for i in range(len(tokens)) for j in range(i + 1, min(i + 5, len(tokens)) + 1)}
    for what, words in _WORDS:
        if joined & set(words.split()) and not (_ELSE.get(what, frozenset()) & set(tokens)):
            return what
    return None


def _tokens(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return re.findall(r"[a-z]+|[0-9]+", _SPLIT.sub("_", plain).lower())
