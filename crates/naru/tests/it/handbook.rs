//! What a package takes from the binary: completions, manual pages, and what it says of its build.

use std::process::{Command, Output};

const NARU: &str = env!("CARGO_BIN_EXE_naru");

fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn completions_are_a_script_that_the_shell_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("naru");
    std::fs::write(&script, said(Command::new(NARU).args(["completions", "bash"]))).unwrap();
    let asked =
        "source \"$1\"; COMP_WORDS=(naru relay st); COMP_CWORD=2; _naru naru st relay; echo \"${COMPREPLY[*]}\"";
    assert_eq!(said(Command::new("bash").args(["-euc", asked, "bash"]).arg(script)).trim(), "status");
    for shell in ["zsh", "fish"] {
        assert!(said(Command::new(NARU).args(["completions", shell])).contains("preflight"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    said(Command::new(NARU).arg("manual").arg(folder.path()));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    // What `naru --help` lists, an indented name a line.
    let help = said(Command::new(NARU).arg("--help"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(names.contains(&"relay") && names.contains(&"rehearse"), "{names:?}");
    for name in names {
        assert!(page(&format!("naru-{name}.1")).starts_with(".ie"), "{name}");
    }
    assert!(page("naru-relay-status.1").contains("\\-\\-config"));
}

#[test]
fn a_build_says_what_it_is() {
    let said = said(Command::new(NARU).arg("--version"));
    let lines: Vec<_> = said.lines().collect();
    let begins = [concat!("naru ", env!("CARGO_PKG_VERSION")), "commit ", "built by rustc 1.", "roles audit, broker, "];
    assert_eq!(lines.len(), begins.len(), "{said}");
    assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{said}");
}
