//! The loader against good and broken sources.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as _, FromArgMatches as _};

use super::*;

crate::choice! {
    /// When a write is answered.
    pub enum Flush {
        /// After it is on the disk.
        Fsync = "fsync",
        /// After it is with the operating system.
        Write = "write",
    }
}

crate::config! {
    /// Encryption.
    #[check(both_or_none)]
    pub struct Tls {
        /// Certificate chain.
        pub certificate: Option<PathBuf>,
        /// Private key.
        pub key: Option<PathBuf>,
    }
}

fn both_or_none(tls: &Tls) -> Result<(), Mistake> {
    if tls.certificate.is_some() == tls.key.is_some() {
        return Ok(());
    }
    Err(Mistake::new("has only one of certificate and key", "give both or none"))
}

fn even(number: &u16) -> Result<(), Mistake> {
    if number.is_multiple_of(2) { Ok(()) } else { Err(Mistake::new("is odd", format!("use {}", number + 1))) }
}

crate::config! {
    /// One group.
    #[derive(PartialEq)]
    pub struct Group {
        /// Its name.
        pub name: String,
        /// Its weight.
        #[range(1, 9)]
        pub weight: u8 = 1,
        /// Its members.
        pub members: Vec<HostPort>,
    }
}

crate::config! {
    /// Stores things.
    pub struct Store for "store" {
        /// Where clients connect.
        pub listen: SocketAddr = "127.0.0.1:9092",
        /// Where things are kept.
        pub data: PathBuf,
        /// Most bytes of one request,
        /// with its head.
        #[range("1KiB", "1GiB")]
        pub request_bytes_max: ByteSize = "100MiB",
        /// Longest wait for a drain.
        pub drain_max: Duration = "10s",
        /// When a write is answered.
        pub flush: Flush = "fsync",
        /// Number of partitions.
        #[check(even)]
        pub partitions: u16 = 4,
        /// Share of the disk to use.
        #[range(0.1, 0.9)]
        pub disk_share: f64 = 0.5,
        /// Whether topics are made on first use.
        pub auto_create: bool = false,
        /// Password of the administrator.
        pub password: Option<Secret>,
        /// Names to answer to.
        pub names: Vec<String>,
        /// Encryption.
        pub tls: Tls,
        /// Groups to serve.
        #[key("group")]
        pub groups: Vec<Group>,
    }
}

const GOOD: &str = r#"
data = "d"
request_bytes_max = "64MiB"
names = ["a", "b"]
tls = { certificate = "c.pem", key = "k.pem" }
[[group]]
name = "one"
members = ["h:1", "[::1]:2"]
[[group]]
name = "two"
weight = 9
"#;

/// Several mistakes of every sort in one file.
const BROKEN: &str = r#"lisen = "127.0.0.1:9092"
listen = ":9092"
request_bytes_max = "2GiB"
drain_max = 10
flush = "fsink"
partitions = 3
disk_share = "half"
auto_create = "true"
password = 7
names = "a"
[tls]
certificate = "c.pem"
[[group]]
weight = 300
members = ["h:1", "broken"]
[[group]]
name = "two"
weight = 0
colour = "blue"
"#;

const BROKEN_REPORT: &str = r#"store.toml:1:1: `lisen` is not a known key
  fix: did you mean `listen`? else remove it
store.toml:2:10: `listen` is ":9092", not an IP address with a port
  fix: write the address too: 0.0.0.0:9092 for every interface, 127.0.0.1:9092 for this machine
store.toml:3:21: `request_bytes_max` is above 1GiB
  fix: use a value from 1KiB to 1GiB
store.toml:4:13: `drain_max` is an integer without a unit
  fix: write the unit, in quotes: "10ms", "10s"
store.toml:5:9: `flush` is "fsink", which is no choice here
  fix: use `fsync` or `write`
store.toml:6:14: `partitions` is odd
  fix: use 4
store.toml:7:14: `disk_share` is a string
  fix: use a number such as 0.5, without quotes
store.toml:8:15: `auto_create` is a string
  fix: use true or false, without quotes
store.toml:9:12: `password` is an integer
  fix: write the secret in quotes, or { file = "PATH" }
store.toml:10:9: `names` is a string, not a list
  fix: write it as names = [ ... ]
store.toml:11:1: `tls` has only one of certificate and key
  fix: give both or none
store.toml:13:1: `group[1].name` is required and missing
  fix: set it to text
store.toml:14:10: `group[1].weight` is 300, out of range
  fix: use an integer from 0 to 255
store.toml:15:19: `group[1].members[2]` is "broken", not a host with a port
  fix: use HOST:PORT, such as broker-1:9092 or [::1]:9092
store.toml:18:10: `group[2].weight` is below 1
  fix: use a value from 1 to 9
store.toml:19:1: `group[2].colour` is not a known key
  fix: remove it; the keys here are name, weight, members
store.toml: `data` is required and missing
  fix: set it to a path in the file, or with --data or NARU_STORE_DATA
environment NARU_STORE_PARTITION: no option has this variable
  fix: did you mean `NARU_STORE_PARTITIONS`? else remove it
18 mistakes in the configuration of `naru store`"#;

#[test]
fn a_broken_configuration_names_every_mistake_its_place_and_its_fix() {
    let errors = Sources::default()
        .document("store.toml", BROKEN)
        .environment([("NARU_STORE_PARTITION", "4"), ("NARU_STOREROOM", "x"), ("HOME", "/")])
        .load::<Store>()
        .unwrap_err();
    assert_eq!(errors.to_string(), BROKEN_REPORT);
}

#[test]
fn a_good_file_becomes_the_struct() {
    let store: Store = Sources::default().document("store.toml", GOOD).load().unwrap();
    assert_eq!(store.data, PathBuf::from("d"));
    assert_eq!(store.request_bytes_max, ByteSize::new(64 << 20));
    assert_eq!(store.names, ["a", "b"]);
    assert_eq!(store.tls.key, Some(PathBuf::from("k.pem")));
    assert_eq!(store.partitions, 4);
    let members = vec![HostPort { host: "h".to_owned(), port: 1 }, HostPort { host: "::1".to_owned(), port: 2 }];
    let expected = vec![
        Group { name: "one".to_owned(), weight: 1, members },
        Group { name: "two".to_owned(), weight: 9, members: Vec::new() },
    ];
    assert_eq!(store.groups, expected);
}

#[test]
fn stronger_sources_win_key_by_key() {
    let check = |file: &str, environment: &[(&str, &str)], arguments: &[&str], expect: (u16, &str, Option<&str>)| {
        let command = Flags::<Store>::augment_args(clap::Command::new("store"));
        let matches = command.try_get_matches_from([&["store"], arguments].concat()).unwrap();
        let flags = Flags::<Store>::from_arg_matches(&matches).unwrap();
        let document = format!("data = 'd'\n{file}");
        let sources = Sources::default().document("f", document).environment(environment.iter().copied());
        let store: Store = flags.over(sources).load().unwrap();
        let key = store.tls.key.as_ref().map(|path| path.to_str().unwrap());
        assert_eq!(
            (store.partitions, store.names.join(" ").as_str(), key),
            expect,
            "{file} {environment:?} {arguments:?}"
        );
    };
    check("", &[], &[], (4, "", None));
    check("partitions = 6\nnames = ['f', 'g']", &[], &[], (6, "f g", None));
    check("partitions = 6", &[("NARU_STORE_PARTITIONS", "8")], &[], (8, "", None));
    check("partitions = 6", &[("NARU_STORE_PARTITIONS", "8")], &["--partitions", "10"], (10, "", None));
    check("names = ['f']", &[("NARU_STORE_NAMES", "x, y")], &[], (4, "x y", None));
    check("names = ['f']", &[], &["--names", "p", "--names", "q"], (4, "p q", None));
    check("tls.certificate = 'c'", &[("NARU_STORE_TLS_KEY", "k")], &[], (4, "", Some("k")));
    check("tls.certificate = 'c'\ntls.key = 'k'", &[], &["--tls-key=l"], (4, "", Some("l")));
    check(
        "",
        &[("NARU_STORE_SERVICE_PORT", "1"), ("NARU_STORE_PORT_9092_TCP", "tcp://1")],
        &["--auto-create"],
        (4, "", None),
    );
}

#[test]
fn one_mistake_is_told_with_its_source() {
    let check = |sources: Sources, expect: &str| {
        let text = sources.load::<Store>().unwrap_err().to_string();
        assert_eq!(text.lines().take(2).collect::<Vec<_>>().join(" |"), expect);
    };
    let base = || Sources::default().environment([("NARU_STORE_DATA", "d")]);
    check(
        Sources::default(),
        "not given: `data` is required and missing |  fix: set it to a path in the file, or with --data or NARU_STORE_DATA",
    );
    check(
        base().environment([("NARU_STORE_FLUSH", "never")]),
        "environment NARU_STORE_FLUSH: `flush` is \"never\", which is no choice here |  fix: use `fsync` or `write`",
    );
    check(
        base().flag("listen", "localhost:1"),
        "flag --listen: `listen` is \"localhost:1\", not an IP address with a port |  fix: write the number: 127.0.0.1:1",
    );
    check(
        base().document("f", "partitions = 3 4"),
        "f:1:14: is not TOML here: string values must be quoted, expected literal string |  fix: mend the syntax; texts stand in quotes",
    );
    check(
        base().document("f", "partitions = 2\npartitions = 4"),
        "f:2:1: is not TOML here: duplicate key |  fix: mend the syntax; texts stand in quotes",
    );
    check(
        base().document("f", "group = 4"),
        "f:1:9: `group` is an integer, not a list |  fix: write it as [[group]], once per element",
    );
    check(
        base().document("f", "tls = 4"),
        "f:1:7: `tls` is an integer, not a table |  fix: write it as [tls] with its keys below",
    );
    check(
        base().document("f", "data = 'd'\nä = 1"),
        "f:2:1: is not TOML here: invalid unquoted key, expected letters, numbers, `-`, `_` |  fix: mend the syntax; texts stand in quotes",
    );
    check(
        base().file("/nowhere/store.toml"),
        "/nowhere/store.toml: cannot be read: No such file or directory (os error 2) |  fix: check the path and its permissions",
    );
    check(
        base().environment([("NARU_STORE_PASSWORD", "a"), ("NARU_STORE_PASSWORD_FILE", "b")]),
        "environment NARU_STORE_PASSWORD_FILE: `password` is set twice, as itself and as a file |  fix: unset NARU_STORE_PASSWORD_FILE or its twin",
    );
}

#[test]
fn a_secret_comes_from_any_source_and_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "hunter2\n").unwrap();
    let shown = path.display();
    let check = |sources: Sources| {
        let store: Store = sources.flag("data", "d").load().unwrap();
        let secret = store.password.clone().unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        assert!(!format!("{store:?} {secret} {}", serde_json::to_string(&secret).unwrap()).contains("hunter2"));
    };
    check(Sources::default().document("f", "password = 'hunter2'"));
    check(Sources::default().document("f", format!("password = {{ file = '{shown}' }}")));
    check(Sources::default().environment([("NARU_STORE_PASSWORD", "hunter2")]));
    check(Sources::default().environment([("NARU_STORE_PASSWORD_FILE", shown.to_string())]));
    check(Sources::default().flag("password", shown.to_string()));
    let refused = Sources::default().document("f", "password = { fil = 'x' }").load::<Store>().unwrap_err().to_string();
    assert!(
        refused.contains("`password.fil` is not a known key") && refused.contains("did you mean `file`"),
        "{refused}"
    );
}

#[test]
fn the_reference_lists_every_option() {
    let page = option_reference(&[RoleReference::of::<Store>()]);
    let check = |line: &str| assert!(page.lines().any(|found| found == line), "{line}\n\n{page}");
    check("## naru store");
    check(
        "| `request_bytes_max` | a size such as 64MiB, 1KiB to 1GiB | `100MiB` | `--request-bytes-max`, \
         `NARU_STORE_REQUEST_BYTES_MAX` | Most bytes of one request, with its head. |",
    );
    check("| `data` | a path | required | `--data`, `NARU_STORE_DATA` | Where things are kept. |");
    check("| `tls.key` | a path | none | `--tls-key`, `NARU_STORE_TLS_KEY` | Private key. |");
    check("`[[group]]`: Groups to serve. Only in the file.");
    check("| `weight` | an integer, 1 to 9 | `1` | Its weight. |");
}

crate::config! {
    /// Has defaults that it refuses itself.
    #[derive(PartialEq)]
    pub struct Careless for "careless" {
        /// Not an address.
        pub listen: SocketAddr = "localhost",
        /// Below its own bound.
        #[range(2, 4)]
        pub copies: u8 = 1,
    }
}

#[test]
fn defaults_that_the_role_refuses_are_found() {
    assert!(RoleReference::of::<Store>().wrong_defaults().is_empty());
    let reference = RoleReference::of::<Careless>();
    let keys: Vec<&str> = reference.wrong_defaults().iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["listen", "copies"]);
    assert!(Sources::default().flag("listen", "1.1.1.1:1").flag("copies", "2").load::<Careless>().is_ok());
}

#[test]
fn every_default_is_one_that_its_type_takes() {
    let store = Sources::default().flag("data", "d").load::<Store>().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], 9092).into();
    assert_eq!((store.listen, store.flush, store.drain_max), (address, Flush::Fsync, Duration::from_secs(10)));
    assert_eq!((store.disk_share, store.auto_create), (0.5, false));
}

#[test]
fn help_lists_the_options() {
    let help = Flags::<Store>::augment_args(clap::Command::new("store")).render_long_help().to_string();
    for expected in ["--request-bytes-max <SIZE>", "--flush <fsync|write>", "--password-file <PATH>", "[default: 10s]"]
    {
        assert!(help.contains(expected), "{expected}\n{help}");
    }
}

crate::config! {
    /// A shelf.
    pub struct Shelf {
        /// Its name.
        pub name: String,
    }
}

crate::config! {
    /// Holds its parts against one another.
    #[flaws(unknown_shelves)]
    pub struct Library for "library" {
        /// The shelves.
        #[key("shelf")]
        pub shelves: Vec<Shelf>,
        /// Where each book stands.
        pub books: Vec<Located<String>>,
    }
}

fn unknown_shelves(library: &Library) -> Vec<Problem> {
    let is_there = |book: &&Located<String>| library.shelves.iter().any(|shelf| shelf.name == ***book);
    let problem = |book: &Located<String>| book.problem(Mistake::new("names no shelf", "name one of them"));
    library.books.iter().filter(|book| !is_there(book)).map(problem).collect()
}

#[test]
fn parts_that_do_not_fit_are_all_told_with_their_places() {
    let text = "books = ['a',\n  'b',\n  'c']\nshelve = 1\n[[shelf]]\nname = 'b'\n";
    let errors = Sources::default().document("f", text).load::<Library>().unwrap_err().to_string();
    for expected in ["f:1:10: `books[1]` names no shelf", "f:3:3: `books[3]` names no shelf", "f:4:1: `shelve`"] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    assert!(!errors.contains("books[2]"), "{errors}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "[a-z_ =\"'\\[\\]{}0-9.\n#äß]{0,120}") {
        if let Err(errors) = Sources::default().document("f", text).load::<Store>() {
            proptest::prop_assert!(!errors.problems().is_empty());
        }
    }
}
