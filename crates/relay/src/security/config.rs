//! The settings of what ends at the relay, and of the relay's own credentials at the brokers.

use std::path::PathBuf;

use naru_runtime::config::{ByteSize, Mistake, Secret};

naru_runtime::choice! {
    /// Where a password itself may be sent.
    pub enum PlainPolicy {
        /// Nowhere: PLAIN is not offered.
        Never = "never",
        /// Inside TLS only.
        OverTls = "over-tls",
        /// Everywhere: whoever sees the network sees the passwords.
        Always = "always",
    }
}

naru_runtime::choice! {
    /// Whether clients show a certificate.
    pub enum ClientCertificates {
        /// Each must.
        Required = "required",
        /// Those without one authenticate otherwise.
        Wanted = "wanted",
    }
}

naru_runtime::choice! {
    /// What a principal may do.
    pub enum Permission {
        /// Consume; be a member of a group and commit.
        Read = "read",
        /// Produce.
        Write = "write",
        /// Make topics.
        Create = "create",
        /// Remove topics, records and groups.
        Delete = "delete",
        /// Change partitions and configurations.
        Alter = "alter",
        /// See that it is there; part of all others but create.
        Describe = "describe",
        /// All of these.
        All = "all",
    }
}

naru_runtime::config! {
    /// TLS on the relay's listener, files in PEM.
    pub struct ListenerTls {
        /// The relay's certificate, any intermediate ones behind it.
        pub certificate: PathBuf,
        /// Its private key, readable by its owner only.
        pub key: PathBuf,
        /// Authority of client certificates; with it, the common name of a client's certificate is its principal.
        pub client_authority: Option<PathBuf>,
        /// Whether clients must show a certificate, where there is an authority.
        pub client_certificates: ClientCertificates = "required",
    }
}

naru_runtime::config! {
    /// What principals may do. What no rule allows is denied.
    #[check(complete)]
    pub struct AclConfig {
        /// Users, or common names of certificates; * stands for all that are known.
        pub principals: Vec<String>,
        /// Topics: names, or patterns that end with *.
        pub topics: Vec<String>,
        /// Consumer groups, likewise.
        pub groups: Vec<String>,
        /// What is allowed.
        pub allow: Vec<Permission>,
    }
}

naru_runtime::config! {
    /// Most bytes per second of a principal, over all its connections.
    pub struct QuotaConfig {
        /// Whose; * stands for each that no other quota names.
        pub principals: Vec<String>,
        /// Bytes of batches.
        #[range("1KiB", "1TiB")]
        pub produce_per_second: Option<ByteSize>,
        /// Bytes read.
        #[range("1KiB", "1TiB")]
        pub fetch_per_second: Option<ByteSize>,
    }
}

naru_runtime::config! {
    /// Who may connect, and what each may do.
    #[check(consistent)]
    pub struct SecurityConfig {
        /// TLS on the listener; without it, connections are not encrypted.
        pub tls: Option<ListenerTls>,
        /// File of users with salted passwords, in the lines that `naru relay user NAME` prints, readable by its owner
        /// only. With it, who shows no certificate must authenticate by SASL.
        pub users: Option<PathBuf>,
        /// Where clients may send a password itself, by SASL PLAIN.
        pub plain: PlainPolicy = "over-tls",
        /// What principals may do.
        #[key("acl")]
        pub acls: Vec<AclConfig>,
        /// What principals may use.
        #[key("quota")]
        pub quotas: Vec<QuotaConfig>,
    }
}

naru_runtime::choice! {
    /// How the relay authenticates at a cluster.
    pub enum BrokerMechanism {
        /// The password itself is sent.
        Plain = "PLAIN",
        /// Challenge and response.
        Sha256 = "SCRAM-SHA-256",
        /// Challenge and response.
        Sha512 = "SCRAM-SHA-512",
    }
}

naru_runtime::config! {
    /// The relay's own user at a cluster.
    pub struct BrokerSasl {
        /// How it authenticates.
        pub mechanism: BrokerMechanism = "SCRAM-SHA-512",
        /// The user.
        pub username: String,
        /// Its password.
        pub password: Secret,
    }
}

naru_runtime::config! {
    /// TLS to a cluster, files in PEM.
    #[check(both_or_neither)]
    pub struct BrokerTls {
        /// Authority of the brokers' certificates; no other is trusted.
        pub authority: PathBuf,
        /// The relay's certificate, where brokers want one.
        pub certificate: Option<PathBuf>,
        /// Its private key, readable by its owner only.
        pub key: Option<PathBuf>,
        /// Name that the brokers' certificates must carry; without it, the host that is connected to.
        pub server_name: Option<String>,
    }
}

fn complete(acl: &AclConfig) -> Result<(), Mistake> {
    if acl.principals.is_empty() || acl.allow.is_empty() || (acl.topics.is_empty() && acl.groups.is_empty()) {
        let fix = "give principals, what they are allowed, and topics or groups";
        return Err(Mistake::new("allows nothing", fix));
    }
    Ok(())
}

fn consistent(security: &SecurityConfig) -> Result<(), Mistake> {
    if !security.acls.is_empty() && !security.authenticates() {
        return Err(Mistake::new(
            "has rules, and nobody says who they are",
            "name a file of users, or tls.client_authority, or remove the rules",
        ));
    }
    Ok(())
}

fn both_or_neither(tls: &BrokerTls) -> Result<(), Mistake> {
    if tls.certificate.is_some() != tls.key.is_some() {
        return Err(Mistake::new("has a certificate without its key, or a key alone", "give both or neither"));
    }
    Ok(())
}

impl SecurityConfig {
    /// Whether clients have to say who they are.
    pub fn authenticates(&self) -> bool {
        self.users.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_authority.is_some())
    }
}
