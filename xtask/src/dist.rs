//! `./x dist`: the Debian package, with what belongs beside a binary that is handed out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

use crate::peers;
use crate::shell::{TaskError, cargo, command, output, root, run, target, write};

/// Arguments of `./x dist`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Cargo's profile: `dist` is what is handed out, `release` builds in less time, `dev` is there already
    #[arg(long, default_value = "dist", value_parser = ["dist", "release", "dev"])]
    profile: String,
}

/// What lies where in the package, below the root of the checkout; documents beside their licence.
const FILES: [(&str, &str); 7] = [
    ("deploy/systemd/naru@.service", "usr/lib/systemd/system/naru@.service"),
    ("deploy/systemd/naru@edge.service.d/ports.conf", "usr/lib/systemd/system/naru@edge.service.d/ports.conf"),
    ("deploy/systemd/naru.sysusers", "usr/lib/sysusers.d/naru.conf"),
    ("README.md", "usr/share/doc/naru/README.md"),
    ("SECURITY.md", "usr/share/doc/naru/SECURITY.md"),
    ("CHANGELOG.md", "usr/share/doc/naru/changelog.md"),
    ("LICENSE", "usr/share/doc/naru/copyright"),
];
/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// A shell as `naru completions` knows it, and where Debian looks for what it completes.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/naru"),
    ("zsh", "usr/share/zsh/vendor-completions/_naru"),
    ("fish", "usr/share/fish/vendor_completions.d/naru.fish"),
];

/// Builds `<target>/dist/naru_VERSION_ARCHITECTURE.deb`, and the list of what is in it beside it.
pub fn dist(args: &Args) -> Result<(), TaskError> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let naru = metadata.packages.iter().find(|package| package.name.as_str() == "naru").expect("the binary's package");
    let version = naru.version.to_string();
    run(cargo(&["build", "--package", "naru", "--profile", &args.profile]))?;
    let folder = if args.profile == "dev" { "debug" } else { &args.profile };
    let binary = target().join(folder).join("naru");

    let out = target().join("dist");
    let stage = out.join("stage");
    remove(&stage)?;
    copy(&binary, &stage.join("usr/bin/naru"), 0o755)?;
    run(command("strip", &["--strip-unneeded", &stage.join("usr/bin/naru").display().to_string()]))?;
    for (from, to) in FILES {
        copy(&root().join(from), &stage.join(to), 0o644)?;
    }
    for (shell, to) in COMPLETIONS {
        write(&stage.join(to), &output(command(&binary, &["completions", shell]))?)?;
    }
    let pages = stage.join("usr/share/man/man1");
    run(command(&binary, &["manual", &pages.display().to_string()]))?;
    compress(&pages)?;
    let parts = out.join("naru.cdx.json");
    bill_of_materials(&parts)?;
    copy(&parts, &stage.join("usr/share/doc/naru/naru.cdx.json"), 0o644)?;

    let architecture = output(command("dpkg", &["--print-architecture"]))?;
    let control = control(&version, architecture.trim(), &needed(&out, &stage)?, size_kib(&stage)?);
    write(&stage.join("DEBIAN/control"), &control)?;
    for script in SCRIPTS {
        copy(&root().join("deploy/debian").join(script), &stage.join("DEBIAN").join(script), 0o755)?;
    }
    let package = out.join(format!("naru_{version}_{}.deb", architecture.trim()));
    let (from, to) = (stage.display().to_string(), package.display().to_string());
    run(command("dpkg-deb", &["--root-owner-group", "--build", &from, &to]))?;
    println!("{to}\n{}", parts.display());
    Ok(())
}

fn control(version: &str, architecture: &str, needed: &str, size_kib: u64) -> String {
    format!(
        "Package: naru\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Naru <naru@naru.example>\n\
         Section: net\nPriority: optional\nInstalled-Size: {size_kib}\nDepends: {needed}\n\
         Description: carries a payment service through its busiest day\n \
         A relay that makes two Kafka clusters one, a gateway between own sites and rented\n \
         cloud, a lake with proof, a control plane and a courier, in one binary.\n"
    )
}

/// What the binary is linked with, as Debian names it: `libc6 (>= 2.34), ...`.
fn needed(out: &Path, stage: &Path) -> Result<String, TaskError> {
    // The tool looks for a source package where it runs.
    write(&out.join("debian/control"), "Source: naru\n\nPackage: naru\nArchitecture: any\n")?;
    let binary = stage.join("usr/bin/naru").display().to_string();
    let mut shlibdeps = command("dpkg-shlibdeps", &["-O", &binary]);
    shlibdeps.current_dir(out);
    let said = output(shlibdeps)?;
    let needed = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    needed
        .map(str::to_owned)
        .ok_or_else(|| TaskError::Findings(vec![format!("dpkg-shlibdeps names no library: {said}")]))
}

/// Every crate that is linked in, with version, licence and checksum, in CycloneDX.
fn bill_of_materials(to: &Path) -> Result<(), TaskError> {
    let name = "naru-parts";
    let manifest = root().join("crates/naru/Cargo.toml").display().to_string();
    let mut cyclonedx = command(peers::cargo_cyclonedx()?, &["cyclonedx", "--quiet", "--format", "json"]);
    cyclonedx.args(["--target", "all", "--no-build-deps", "--override-filename", name, "--manifest-path", &manifest]);
    run(cyclonedx)?;
    // It writes one beside every manifest of the workspace; the binary's has all the others in it.
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    for package in metadata.workspace_packages() {
        let made = package.manifest_path.with_file_name(format!("{name}.json")).into_std_path_buf();
        if package.name.as_str() == "naru" {
            copy(&made, to, 0o644)?;
        }
        if made.exists() {
            fs::remove_file(&made).map_err(failed(&made))?;
        }
    }
    Ok(())
}

/// Packs every page, as dpkg's policy asks; without a date, so that the same tree gives the same package.
fn compress(pages: &Path) -> Result<(), TaskError> {
    let mut gzip = command("gzip", &["-9", "--no-name"]);
    for page in fs::read_dir(pages).map_err(failed(pages))? {
        gzip.arg(page.map_err(failed(pages))?.path());
    }
    // Not shown: it names every page.
    output(gzip).map(drop)
}

fn size_kib(folder: &Path) -> Result<u64, TaskError> {
    let said = output(command("du", &["--summarize", "--block-size=1024", &folder.display().to_string()]))?;
    let size = said.split_whitespace().next().and_then(|size| size.parse().ok());
    size.ok_or_else(|| TaskError::Findings(vec![format!("du says no size: {said}")]))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), TaskError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    fs::copy(from, to).map_err(failed(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed(to))
}

fn remove(folder: &Path) -> Result<(), TaskError> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(failed(folder)) } else { Ok(()) }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError {
    let path = PathBuf::from(path);
    |source| TaskError::File { path, source }
}
