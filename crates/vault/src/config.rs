//! The settings of a vault.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{ByteSize, Mistake};
use naru_runtime::mtls::MtlsFiles;
use naru_runtime::telemetry::TelemetryConfig;

naru_runtime::config! {
    /// What another role may ask for.
    pub struct CallerConfig {
        /// The role, as its certificate names it.
        pub role: String,
        /// Fields that it may have tokens of.
        pub tokenise: Vec<String>,
        /// Fields whose tokens it may have resolved.
        pub resolve: Vec<String>,
    }
}

naru_runtime::config! {
    /// Makes tokens in place of personal data, and opens them.
    #[check(callers_differ)]
    pub struct VaultConfig for "vault" {
        /// Address to listen on; port 0 takes a free one. Every caller shows a certificate.
        pub listen: SocketAddr = "127.0.0.1:7443",
        /// Directory of the fields' keys.
        pub keys: PathBuf,
        /// Directory of the log of uses: a signed chain, which is never cleared by the vault.
        pub uses: PathBuf,
        /// Key file that signs it, made if missing.
        pub signing_key: PathBuf,
        /// The vault's own certificate, and the authority of its callers'.
        pub tls: MtlsFiles,
        /// Who may ask for what. What nobody is allowed is denied.
        #[key("caller")]
        pub callers: Vec<CallerConfig>,
        /// Largest request.
        #[range("1KiB", "64MiB")]
        pub request_bytes_max: ByteSize = "4MiB",
        /// Requests at once; more are told to come again.
        #[range("1", "10000")]
        pub requests_max: u32 = "64",
        /// Connections at once.
        #[range("1", "10000")]
        pub connections_max: u32 = "256",
        /// Longest wait for requests in hand when the vault is told to stop.
        pub drain_max: Duration = "5s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn callers_differ(config: &VaultConfig) -> Result<(), Mistake> {
    for (index, caller) in config.callers.iter().enumerate() {
        if config.callers[..index].iter().any(|other| other.role == caller.role) {
            let what = format!("has the caller {:?} twice", caller.role);
            return Err(Mistake::new(what, "give each role one [[caller]]"));
        }
        if caller.tokenise.is_empty() && caller.resolve.is_empty() {
            let what = format!("has the caller {:?}, who may nothing", caller.role);
            return Err(Mistake::new(what, "name fields under tokenise or resolve, or remove it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    #[test]
    fn callers_that_cannot_be_meant_are_refused() {
        let check = |callers: &str, expect: &str| {
            let text = format!(
                "keys = 'k'\nuses = 'u'\nsigning_key = 's'\n[tls]\nauthority = 'a'\ncertificate = 'c'\nkey = 'k'\n{callers}"
            );
            let said = Sources::default().document("vault.toml", text).load::<VaultConfig>();
            let said = said.map(|_| "right".to_owned()).unwrap_or_else(|errors| errors.to_string());
            assert!(said.contains(expect), "{said}");
        };
        check("[[caller]]\nrole = 'capture'\ntokenise = ['phone']", "right");
        check("[[caller]]\nrole = 'a'\nresolve = ['x']\n[[caller]]\nrole = 'a'\nresolve = ['x']", "twice");
        check("[[caller]]\nrole = 'a'", "may nothing");
    }
}
