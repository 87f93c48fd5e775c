//! Requests whose meaning is known because of how they were made: a plain path, disguised.

use naru_edge::policy::Pattern;
use naru_model::Class;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// A request.
#[derive(Debug, Clone)]
pub struct Made {
    pub host: &'static str,
    pub target: String,
    /// What a back end that resolves everything would serve.
    pub plain: String,
    /// Whether two readers could read it as two paths, so that it must be refused.
    pub is_ambiguous: bool,
}

const HOSTS: [&str; 4] = ["app.example", "promo.example", "PROMO.example:443", "127.0.0.1:80"];
const PLAIN: [&str; 12] = [
    "/",
    "/pay",
    "/pay/1",
    "/pay/help",
    "/payments",
    "/gift",
    "/gift/page/2",
    "/transfer/7",
    "/promo",
    "/promo/event/9",
    "/promo/pay",
    "/x",
];

pub fn make(rng: &mut ChaCha8Rng) -> Made {
    let host = HOSTS[rng.random_range(0..HOSTS.len())];
    let plain = PLAIN[rng.random_range(0..PLAIN.len())].to_owned();
    let (target, is_ambiguous) = match rng.random_range(0..30) {
        0 => (plain.to_uppercase(), false),
        1 => (encoded(&plain, rng), false),
        2 if plain.len() > 1 => (format!("{plain}/"), false),
        3 if plain.len() > 1 => (format!("{plain};v=1"), false),
        4 => (format!("{plain}?next=/../pay//%2e"), false),
        5 => (format!("/promo/..{plain}"), true),
        6 => (format!("/promo/%2e%2E{plain}"), true),
        7 => (format!("/promo%2f..{}", plain.replace('/', "%2F")), true),
        8 => (format!("/promo\\..{plain}"), true),
        9 => (format!("/{plain}"), plain != "/"),
        10 => (format!("/promo/..;x{plain}"), true),
        _ => (plain.clone(), false),
    };
    // Two slashes are one directory to whoever would serve them.
    let is_ambiguous = is_ambiguous || target == "//";
    Made { host, target, plain, is_ambiguous }
}

fn encoded(plain: &str, rng: &mut ChaCha8Rng) -> String {
    let at = rng.random_range(0..plain.len());
    let encode = |(index, byte): (usize, u8)| match index == at && byte != b'/' {
        true => format!("%{byte:02x}"),
        false => char::from(byte).to_string(),
    };
    plain.bytes().enumerate().map(encode).collect()
}

/// The class of a plain path, by comparing segments one by one; `None` when no route has it. `is_shouted` says that the
/// request was in capital letters.
pub fn class_of(routes: &[(Pattern, Class)], made: &Made, is_shouted: bool) -> Option<Class> {
    let host = made.host.split(':').next().unwrap().to_lowercase();
    let segments = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let asked = segments(&made.plain);
    let mut best: Option<((usize, bool, bool), Class)> = None;
    for (pattern, class) in routes {
        if pattern.host().is_some_and(|own| own != host) {
            continue;
        }
        let own = segments(pattern.path());
        // Capital letters name an open route only where it has no letters.
        let reads = *class == Class::Core || !is_shouted || own.is_empty();
        if !reads || !asked.starts_with(&own) {
            continue;
        }
        let rank = (pattern.path().len(), pattern.host().is_some(), *class == Class::Core);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, *class));
        }
    }
    best.map(|(_, class)| class)
}
