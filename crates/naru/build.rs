//! What `naru --version` says of a build: commit, compiler, target, roles.

use std::path::Path;
use std::process::Command;

fn main() {
    let profile = of_cargo("PROFILE");
    let compiler = said_by(&of_cargo("RUSTC"), &["--version"]);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=NARU_BUILD_COMMIT={}", commit(&profile));
    println!("cargo::rustc-env=NARU_BUILT_BY={compiler} for {}, profile {profile}", of_cargo("TARGET"));
    println!("cargo::rustc-env=NARU_ROLES={}", roles());
}

/// The commit, with a mark when the tree held other changes.
fn commit(profile: &str) -> String {
    // A development build would be linked anew for every commit.
    if profile == "debug" {
        return "not recorded in a development build".to_owned();
    }
    // Of a packed source tree, without git, one gets "unknown".
    for watched in ["HEAD", "index"] {
        let path = said_by("git", &["rev-parse", "--git-path", watched]);
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    said_by("git", &["describe", "--always", "--dirty", "--abbrev=12"])
}

/// What a program prints, or `unknown`.
fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
    let said = output.and_then(|output| String::from_utf8(output.stdout).ok());
    said.map_or_else(|| "unknown".to_owned(), |said| said.trim().to_owned())
}

/// The features that are built in, which are the roles.
fn roles() -> String {
    #[expect(clippy::disallowed_methods, reason = "cargo says which features are on by the environment only")]
    let variables = std::env::vars();
    let mut roles: Vec<_> = variables
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|role| role != "default")
        .collect();
    roles.sort_unstable();
    roles.join(", ")
}

fn of_cargo(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by the environment only")]
    let value = std::env::var(name);
    value.unwrap_or_else(|error| panic!("cargo sets {name} for every build script: {error}"))
}
