//! The pages in Chromium: whole, live, within the window, without a complaint, and used by hand.

use std::path::Path;

use tempfile::TempDir;

use super::chromium::Browser;
use crate::up::process::Up;

/// A picture of an empty window of a phone is below 6,000 characters of base64; the page with least on it has twice that.
const PICTURE_CHARS_MIN: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_whole_in_a_browser_at_both_widths_in_both_languages() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let up = Up::start(&data, &["--demo"]).await;
    tokio::task::block_in_place(|| look(&up, &data));
    let (status, said) = up.stop();
    assert!(status.success(), "{status}: {said}");
}

fn look(up: &Up, data: &Path) {
    let mut browser = Browser::start();
    let all = &["/", "/plans", "/sql", "/login"][..];
    for (width, height, lang, is_dark, paths) in [
        (1280, 900, "en", false, all),
        (390, 844, "ko", true, all),
        (1280, 900, "ko", true, &all[..2]),
        (390, 844, "en", false, &all[..2]),
    ] {
        browser.resize(width, height, is_dark);
        for path in paths {
            browser.open(&up.url("console.page", &format!("{path}?lang={lang}")));
            if *path == "/" {
                browser.until("Number(document.getElementById('day').dataset.frames) >= 2");
                browser.until("document.querySelectorAll('canvas').length >= 6");
            }
            is_sound(&mut browser, &format!("{path} {width} {lang}"));
        }
    }
    use_it(&mut browser, up, data);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Nothing is wider than the window, everything has a name, and there is something to see.
fn is_sound(browser: &mut Browser, page: &str) {
    let overflow = "document.documentElement.scrollWidth - window.innerWidth";
    assert!(browser.run(overflow).as_f64().unwrap() <= 0.0, "{page} is wider than its window");
    let nameless = "[...document.querySelectorAll('a, button, input:not([type=hidden]), textarea')].filter((one) => \
                    !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length";
    assert_eq!(browser.run(nameless), 0, "{page} has something without a name");
    assert_eq!(browser.run("document.querySelectorAll('main').length"), 1, "{page}");
    assert_eq!(browser.run("document.querySelectorAll('h1').length"), 1, "{page}");
    assert!(browser.picture().len() > PICTURE_CHARS_MIN, "{page} is empty");
}

/// By hand: a range and a filter, which stand in the address; colours by a key; logging in, and approving a plan.
fn use_it(browser: &mut Browser, up: &Up, data: &Path) {
    browser.resize(1280, 900, false);
    browser.open(&up.url("console.page", "/?lang=en"));
    browser.until("document.querySelectorAll('#site-filter input').length >= 2");
    browser.press("1");
    browser.run("document.querySelector('input[value=core]').click()");
    browser.until("location.search.includes('range=5') && location.search.includes('hide=class%2Fcore')");
    browser.press("t");
    browser.until("document.documentElement.dataset.theme === 'light' && document.readyState === 'complete'");
    assert_eq!(browser.run("location.search.includes('hide=class%2Fcore')"), true, "the view is lost with the colours");

    let log_in = |browser: &mut Browser, name: &str| {
        let token = std::fs::read_to_string(data.join("tokens").join(name)).unwrap();
        browser.open(&up.url("console.page", "/login?to=/plans"));
        browser.run(&format!("document.querySelector('[name=token]').value = '{token}'"));
        browser.run("document.querySelector('main form').requestSubmit()");
        browser.until("location.pathname === '/plans' && document.readyState === 'complete'");
    };
    log_in(browser, "requester");
    browser.run("document.querySelector('form[action=\"/plans\"][method=post]').requestSubmit()");
    browser.until("/^.plans.[0-9a-f]{64}$/.test(location.pathname) && document.readyState === 'complete'");
    let plan = browser.run("location.pathname");
    log_in(browser, "approver");
    browser.open(&up.url("console.page", plan.as_str().unwrap()));
    is_sound(browser, "a plan");
    browser.run("document.querySelector('form[action$=approve]').requestSubmit()");
    browser.until("location.search === '?said=approved' && !!document.querySelector('.said.well')");
    let question = "/sql?q=select+*+from+(values+(1,+10),+(2,+20),+(3,+15))+as+t(x,+y)+order+by+1";
    browser.open(&up.url("console.page", question));
    browser.until("!!document.querySelector('#answer-chart:not([hidden]) canvas')");
    is_sound(browser, "an answer");
}
