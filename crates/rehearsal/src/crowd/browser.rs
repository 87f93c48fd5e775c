//! A browser, as far as an edge meets one: an address of its own, cookies, and what it says of itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, COOKIE, RETRY_AFTER, SET_COOKIE};

use super::Answer;

/// The header by which the sample's pages name the process.
const SERVED_BY: &str = "served-by";
/// How long a page may take: a visitor has left by then.
const VIEW_MAX: Duration = Duration::from_secs(10);
/// A connection is kept for as long as a visitor looks at a page.
const KEPT_MAX: Duration = Duration::from_secs(2);
/// Answers are pages of some kilobytes; of a longer one no more is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The user's name, as a badly written page sends it along.
const USER_NAME: &str = "x-user-name";
/// The session's cookie.
const SESSION: &str = "session";

/// One browser. Its cookies are kept by name alone: it only ever talks to one edge.
#[derive(Debug)]
pub(super) struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
    language: &'static str,
    planted: String,
}

/// What came of one request.
pub(super) struct Shown {
    pub(super) answer: Answer,
    /// The process that answered, whatever it said; none when the edge answered by itself.
    pub(super) by: Option<String>,
    /// When a waiting page asks again.
    pub(super) again: Option<Duration>,
}

impl Shown {
    fn nothing(error: &reqwest::Error) -> Self {
        Self { answer: Answer::Nothing(why(error).to_owned()), by: None, again: None }
    }
}

impl Browser {
    /// The browser of somebody, by his number: each has another address, as in life.
    pub(super) fn new(number: usize, planted: &str) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .local_address(Some(address(number)))
            .pool_idle_timeout(KEPT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let language = if number.is_multiple_of(2) { "ko-KR,ko;q=0.9,en;q=0.5" } else { "en-GB,en;q=0.9" };
        let session = (SESSION.to_owned(), planted.to_owned());
        Ok(Self { client, cookies: BTreeMap::from([session]), language, planted: planted.to_owned() })
    }

    /// Opens a page. Its form has put the user's name into the address.
    pub(super) async fn open(&mut self, url: &str) -> Shown {
        let url = format!("{url}?day=1111&name={}", self.planted);
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self
            .client
            .get(url)
            .header(ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
            .header(ACCEPT_LANGUAGE, self.language)
            .header(COOKIE, cookies.join("; "))
            .header(USER_NAME, &self.planted)
            .timeout(VIEW_MAX);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Shown::nothing(&error),
        };
        let (status, again) = (response.status(), retry_after(&response));
        let by = response.headers().get(SERVED_BY).and_then(|name| name.to_str().ok()).map(str::to_owned);
        self.keep_cookies(&response);
        if let Err(error) = read_through(&mut response).await {
            return Shown::nothing(&error);
        }
        let answer = match (status.as_u16(), &by, again) {
            (200, Some(by), _) => Answer::Served(by.clone()),
            (200, None, Some(_)) => Answer::Waiting,
            (status, ..) => Answer::Status(status),
        };
        Shown { answer, by, again }
    }

    fn keep_cookies(&mut self, response: &Response) {
        for cookie in response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let mut parts = cookie.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let is_over = value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
            match is_over {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
    }
}

/// The address of the browser of somebody. Linux answers to all of 127.0.0.0/8.
fn address(number: usize) -> IpAddr {
    // 127.64.0.1 and on: sites of scenarios are below.
    let host = 1 + u32::try_from(number % (1 << 20)).unwrap_or(0);
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 64, 0, 0).to_bits() + host).into()
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads a body so that the connection can be used again.
async fn read_through(response: &mut Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while let Some(part) = response.chunk().await? {
        read += part.len();
        if read > BODY_BYTES_MAX {
            return Ok(());
        }
    }
    Ok(())
}

fn why(error: &reqwest::Error) -> &'static str {
    match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_browser_has_an_address_of_its_own() {
        let check = |number: usize, expect: [u8; 4]| assert_eq!(address(number), IpAddr::from(expect));
        check(0, [127, 64, 0, 1]);
        check(255, [127, 64, 1, 0]);
        check((1 << 20) - 1, [127, 80, 0, 0]);
        check(1 << 20, [127, 64, 0, 1]);
    }
}
