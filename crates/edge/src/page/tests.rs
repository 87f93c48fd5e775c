#![allow(clippy::unwrap_used)] // a test panics on failure

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn waits(place: u64, estimate: Option<Duration>) -> Facts {
    Facts { standing: Standing::Waits { place, estimate }, refresh: Duration::from_millis(4_600) }
}

const CALLED: Facts = Facts { standing: Standing::Called, refresh: Duration::from_millis(400) };

fn header<'p>(page: &'p Page, name: &str) -> &'p str {
    page.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn the_page_says_place_and_wait_in_the_readers_language() {
    let check = |facts: Facts, language: Language, says: &[&str], keeps: &[&str]| {
        let page = render(&facts, language);
        let text = String::from_utf8(page.body).unwrap();
        says.iter().for_each(|part| assert!(text.contains(part), "{part:?} is missing in {text}"));
        keeps.iter().for_each(|part| assert!(!text.contains(part), "{part:?} stands in {text}"));
    };
    let (korean, english) = (Language::Korean, Language::English);
    check(
        waits(1_234, Some(3 * MINUTE)),
        korean,
        &[r#"<html lang="ko">"#, "1,234<small>번째</small>", "약 3분", r#"role="status""#, r#"content="5""#],
        &["You are"],
    );
    check(
        waits(1_234, Some(3 * MINUTE)),
        english,
        &[r#"<html lang="en">"#, "1,234<small>th</small>", "about 3 minutes", "<title>1,234th · You are in line"],
        &["번째"],
    );
    check(waits(1, None), korean, &["아직 알 수 없습니다"], &["분 이내"]);
    check(waits(1, None), english, &["not known yet"], &["minute"]);
    check(CALLED, korean, &["입장하실 차례입니다", r#"role="status""#, r#"content="1""#], &["나의 대기 순서"]);
    check(CALLED, english, &["It is your turn"], &["Your place"]);
}

#[test]
fn a_page_is_200_and_data_is_429_and_neither_is_kept() {
    const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let check = |accept: &str, status: u16, content_type: &str, language: &str| {
        let page = answer(&waits(12, Some(MINUTE)), accept, "en");
        assert_eq!(page.status.as_u16(), status);
        assert_eq!(header(&page, "content-type"), content_type);
        assert_eq!(header(&page, "content-language"), language);
        assert_eq!(header(&page, "cache-control"), "no-store");
        assert_eq!(header(&page, "retry-after"), "5");
        assert_eq!(header(&page, "x-robots-tag"), "noindex");
        assert_eq!(header(&page, "vary"), "Accept, Accept-Language, Cookie");
        assert_eq!(header(&page, "content-length"), page.body.len().to_string());
    };
    check(BROWSER, 200, "text/html; charset=utf-8", "en");
    check("application/json", 429, "application/json", "");
    check("", 429, "application/json", "");
}

#[test]
fn a_program_reads_where_it_stands() {
    let check = |facts: Facts, expect: &str| {
        assert_eq!(String::from_utf8(document(&facts).body).unwrap(), expect);
    };
    check(
        waits(12, Some(Duration::from_millis(61_001))),
        r#"{"state":"waiting","place":12,"estimate_s":62,"refresh_s":5}"#,
    );
    check(waits(12, None), r#"{"state":"waiting","place":12,"estimate_s":null,"refresh_s":5}"#);
    check(CALLED, r#"{"state":"called","place":0,"estimate_s":null,"refresh_s":1}"#);
}

#[test]
fn the_page_runs_nothing_and_loads_nothing() {
    let page = render(&waits(7, None), Language::Korean);
    let text = String::from_utf8(page.body.clone()).unwrap();
    for part in ["<script", "<img", "<link", "url(", "@import", "src=", "http://", "https://", " style=", " on"] {
        assert!(!text.contains(part), "{part:?} stands in the page");
    }
    let style = text.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64(digest(&SHA256, style.as_bytes()).as_ref());
    let policy = header(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && policy.contains(&format!("style-src 'sha256-{hash}';")));
    assert!(text.len() < 8_192, "a page for phones has {} bytes", text.len());
}

#[test]
fn text_and_ground_differ_enough_for_weak_eyes() {
    /// Relative luminance as WCAG 2.2 defines it.
    fn luminance(colour: &str) -> f64 {
        let digits = colour.trim_start_matches('#');
        let long: String =
            if digits.len() == 3 { digits.chars().flat_map(|c| [c, c]).collect() } else { digits.into() };
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&long[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }
    for scheme in STYLE.split(":root{").skip(1) {
        let colour = |name: &str| {
            let value = scheme.split_once(&format!("--{name}:")).unwrap().1;
            luminance(value.split([';', '}']).next().unwrap())
        };
        for (text, ground) in [
            ("text", "card"),
            ("quiet", "card"),
            ("quiet", "tint"),
            ("text", "tint"),
            ("own", "tint"),
            ("on-own", "own"),
        ] {
            let (one, other) = (colour(text), colour(ground));
            let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
            assert!(contrast >= 4.5, "{text} on {ground} has {contrast:.2}");
        }
    }
}

#[test]
fn a_hash_is_written_as_policies_have_it() {
    let check = |bytes: &[u8], expect: &str| assert_eq!(base64(bytes), expect);
    check(b"", "");
    check(b"f", "Zg==");
    check(b"fo", "Zm8=");
    check(b"foo", "Zm9v");
    check(&[0xfb, 0xff, 0xfe, 0x00], "+//+AA==");
}
