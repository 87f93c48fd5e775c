//! Columns that look personal by their name. A name is no proof: preflight asks for a decision, it makes none.

/// Words of names, in lower case, and what they look like. A word of the name is one by its letters (`phone_no`,
/// `phoneNo`).
const WORDS: &[(&str, &[&str])] = &[
    (
        "a name",
        &[
            "name",
            "nm",
            "firstname",
            "lastname",
            "fullname",
            "surname",
            "nickname",
            "username",
            "holder",
            "recipient",
            "sender",
            "payer",
            "payee",
            "beneficiary",
            "contact",
        ],
    ),
    ("a phone number", &["phone", "tel", "telephone", "mobile", "cell", "cellphone", "hp", "msisdn", "fax"]),
    ("an e-mail address", &["email", "mail", "eml"]),
    (
        "a resident number",
        &[
            "rrn",
            "ssn",
            "resident",
            "jumin",
            "passport",
            "national",
            "birth",
            "birthday",
            "birthdate",
            "dob",
            "ci",
            "di",
        ],
    ),
    ("a card", &["card", "pan", "cvv", "cvc", "iin"]),
    ("an account", &["account", "acct", "acc", "iban", "bankaccount", "gyejwa"]),
    ("an address", &["address", "addr", "street", "zipcode", "zip", "postcode", "postal", "ip"]),
];

/// Words that are long and particular enough to be looked for at the beginning and the end of a word, too: `cardno`,
/// `customername`. `discard` and `filename` ask for a decision then, which is one line.
const AFFIXES: &[(&str, &[&str])] = &[
    ("a name", &["name", "surname"]),
    ("a phone number", &["phone", "mobile", "msisdn"]),
    ("an e-mail address", &["email"]),
    ("a resident number", &["jumin", "passport", "birth", "resident"]),
    ("a card", &["card"]),
    ("an account", &["account", "acct", "iban", "gyejwa"]),
    ("an address", &["address", "addr", "zipcode"]),
];

/// The same for Korean: any piece of the name.
const PIECES: &[(&str, &[&str])] = &[
    ("a name", &["이름", "성명", "성함", "예금주", "수취인", "고객명", "회원명"]),
    ("a phone number", &["전화", "휴대폰", "핸드폰", "연락처", "폰번호", "휴대전화"]),
    ("an e-mail address", &["이메일", "메일"]),
    ("a resident number", &["주민", "생년월일", "여권", "외국인등록", "운전면허"]),
    ("a card", &["카드"]),
    ("an account", &["계좌"]),
    ("an address", &["주소", "우편"]),
];

/// What a column looks like, if it looks personal.
pub fn looks(column: &str) -> Option<&'static str> {
    let lower = column.to_lowercase();
    let pieces = PIECES.iter().find(|(_, pieces)| pieces.iter().any(|piece| lower.contains(piece)));
    if let Some((what, _)) = pieces {
        return Some(what);
    }
    let words = words(column);
    // Two words that are one elsewhere: `e_mail`, `zip_code`.
    let joined = words.windows(2).map(|pair| pair.concat()).collect::<Vec<_>>();
    let is = |word: &&str| {
        words.iter().chain(&joined).any(|own| own.trim_end_matches(|c: char| c.is_ascii_digit()) == *word)
    };
    let borders = |affix: &&str| {
        { words.iter().map(|own| own.trim_end_matches(|c: char| c.is_ascii_digit())) }
            .any(|own| own.starts_with(*affix) || own.ends_with(*affix))
    };
    let word = WORDS.iter().find(|(_, known)| known.iter().any(&is));
    word.or_else(|| AFFIXES.iter().find(|(_, known)| known.iter().any(borders))).map(|(what, _)| *what)
}

/// `customerPhone_no2` as customer, phone, no2.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() {
            words.push(String::new());
        } else {
            if letter.is_uppercase() && was_lower {
                words.push(String::new());
            }
            let word = words.last_mut().expect("there is always one");
            word.extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_personal_columns_are_seen() {
        let check = |column: &str, expect: Option<&str>| assert_eq!(looks(column), expect, "{column}");
        check("name", Some("a name"));
        check("customerName", Some("a name"));
        check("customer_name", Some("a name"));
        check("phone_no", Some("a phone number"));
        check("hp2", Some("a phone number"));
        check("e_mail", Some("an e-mail address"));
        check("EMAIL", Some("an e-mail address"));
        check("rrn", Some("a resident number"));
        check("주민등록번호", Some("a resident number"));
        check("계좌번호", Some("an account"));
        check("받는분_연락처", Some("a phone number"));
        check("card_no", Some("a card"));
        check("account_number", Some("an account"));
        for (column, what) in [
            ("cardno", "a card"),
            ("phoneno", "a phone number"),
            ("PHONENUMBER", "a phone number"),
            ("mobileno", "a phone number"),
            ("acctno", "an account"),
            ("accountno", "an account"),
            ("emailaddr", "an e-mail address"),
            ("customername", "a name"),
            ("cust_nm", "a name"),
            ("payer", "a name"),
            ("recipient", "a name"),
            ("homeaddress2", "an address"),
        ] {
            check(column, Some(what));
        }
        check("amount", None);
        check("id", None);
        check("status", None);
        check("created_at", None);
        check("span", None);
        check("tell", None);
        check("상태", None);
    }
}
