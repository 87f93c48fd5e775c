//! The settings of SQL over the tables: who may ask, what each may see, and what a query may cost.

use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{ByteSize, Mistake, Secret};

naru_runtime::choice! {
    /// What stands in place of a value.
    pub enum MaskKind {
        /// Nothing.
        Null = "null",
        /// Four asterisks; null for columns that are no text.
        Redact = "redact",
        /// The last four letters behind four asterisks; null for columns that are no text.
        LastFour = "last-four",
    }
}

naru_runtime::config! {
    /// A column whose values a role does not see.
    pub struct MaskConfig {
        /// Tables: namespace and name, or patterns that end with *.
        pub table: String,
        /// The column.
        pub column: String,
        /// What stands in place of its values.
        pub show: MaskKind = "null",
    }
}

naru_runtime::config! {
    /// The rows that a role sees of a table.
    pub struct PolicyConfig {
        /// Tables: namespace and name, or patterns that end with *.
        pub table: String,
        /// SQL condition over the table's own columns, such as merchant = 'shop-7'. Other rows do not exist for the role.
        pub rows: String,
    }
}

naru_runtime::config! {
    /// What a group of users may see.
    pub struct RoleConfig {
        /// Its name.
        pub name: String,
        /// Tables: namespace and name, or patterns that end with *. What is not named does not exist for the role.
        pub tables: Vec<String>,
        /// Columns whose values it does not see.
        #[key("mask")]
        pub masks: Vec<MaskConfig>,
        /// Rows that it sees; several of one table must all hold.
        #[key("policy")]
        pub policies: Vec<PolicyConfig>,
    }
}

naru_runtime::config! {
    /// Somebody who may ask.
    pub struct UserConfig {
        /// The user's name.
        pub name: String,
        /// The password.
        pub password: Secret,
        /// What the user may see.
        pub role: String,
    }
}

naru_runtime::config! {
    /// Files in PEM.
    pub struct SqlTls {
        /// The certificate, any intermediate ones behind it.
        pub certificate: PathBuf,
        /// Its private key, readable by its owner only.
        pub key: PathBuf,
    }
}

naru_runtime::config! {
    /// SQL over the PostgreSQL protocol.
    #[check(consistent)]
    pub struct SqlConfig {
        /// TLS; without it, connections are not encrypted. With it, those that are not encrypted are refused.
        pub tls: Option<SqlTls>,
        /// Who may ask. Without any, everybody who reaches the address sees everything, and it must be on loopback.
        #[key("user")]
        pub users: Vec<UserConfig>,
        /// What they may see.
        #[key("role")]
        pub roles: Vec<RoleConfig>,
        /// Most connections at once.
        #[range("1", "10000")]
        pub connections_max: u32 = "100",
        /// Most queries at work at once; further ones wait.
        #[range("1", "1000")]
        pub queries_max: u32 = "8",
        /// Longest that a query may run, its answer taken in.
        #[range("100ms", "1d")]
        pub query_time_max: Duration = "1m",
        /// Most memory of a query.
        #[range("1MiB", "1TiB")]
        pub query_memory_max: ByteSize = "512MiB",
        /// Most bytes of a query's text.
        #[range("1KiB", "16MiB")]
        pub query_bytes_max: ByteSize = "256KiB",
        /// Threads that queries run on.
        #[range("1", "256")]
        pub threads: u32 = "2",
    }
}

fn consistent(sql: &SqlConfig) -> Result<(), Mistake> {
    for (index, user) in sql.users.iter().enumerate() {
        if sql.users[..index].iter().any(|other| other.name == user.name) {
            return Err(Mistake::new(format!("has two users {:?}", user.name), "give each a name of its own"));
        }
        if !sql.roles.iter().any(|role| role.name == user.role) {
            return Err(Mistake::new(
                format!("has the user {:?} in a role {:?} that is not there", user.name, user.role),
                "declare it as [[sql.role]] with name and tables",
            ));
        }
    }
    for (index, role) in sql.roles.iter().enumerate() {
        if sql.roles[..index].iter().any(|other| other.name == role.name) {
            return Err(Mistake::new(format!("has two roles {:?}", role.name), "give each a name of its own"));
        }
        let said = role.masks.iter().map(|mask| &mask.table).chain(role.policies.iter().map(|policy| &policy.table));
        for table in said {
            // A name that no table can have would hide nothing, without a word.
            if table.chars().any(char::is_uppercase) || !(table.contains('.') || table.ends_with('*')) {
                return Err(Mistake::new(
                    format!("has a mask or policy of the role {:?} for {table:?}, which no table is called", role.name),
                    "name it as namespace.table, in lower case",
                ));
            }
        }
    }
    if sql.users.is_empty() && !sql.roles.is_empty() {
        return Err(Mistake::new("has roles and no user, so that everybody sees everything", "add [[sql.user]]"));
    }
    Ok(())
}
