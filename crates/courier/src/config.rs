//! The settings of a courier.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::clocks::millis;
use naru_runtime::config::{HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

use crate::address::VaultClientConfig;
use crate::batch::KeyLife;

naru_runtime::config! {
    /// The provider that carries messages.
    pub struct ProviderConfig {
        /// Where it is reached, by plain HTTP: what ends TLS towards it stands in between, on this machine.
        pub address: HostPort,
        /// The account's name.
        pub app_key: String = "naru",
        /// The account's token.
        pub token: Option<Secret>,
        /// Messages a minute that the provider takes, both lanes together.
        #[range("1", "100000000")]
        pub per_minute_max: u32 = "600000",
        /// Messages of one request.
        #[range("1", "1000")]
        pub batch_max: u32 = "1000",
        /// Requests at once, for each lane.
        #[range("1", "64")]
        pub in_flight_max: u32 = "16",
        /// Longest wait for an answer; without one the outcome is unknown.
        #[range("50ms", "1m")]
        pub timeout: Duration = "5s",
        /// How long the provider refuses a key that it has seen. Never more than it promises.
        #[range("1s", "7d")]
        pub key_lifetime: Duration = "10m",
        /// How long receipts are waited for before the provider is asked; doubled with every question without news.
        #[range("50ms", "1d")]
        pub receipt_wait: Duration = "1m",
        /// How long an outcome may stay in doubt, or receipts be missing, before the message counts as dead.
        #[range("1s", "30d")]
        pub settle_max: Duration = "3d",
    }
}

naru_runtime::config! {
    /// The gateway, whose headroom campaigns are paced by.
    pub struct EdgeConfig {
        /// Its admin port; several gateways are several entries.
        pub address: HostPort,
        /// Units a second of one slot: 10 where a request of one unit holds its slot for 100 ms.
        #[range("0.001", "1000000")]
        pub units_per_slot: f64 = "10",
    }
}

naru_runtime::choice! {
    /// Where a partition that was never read begins.
    pub enum From {
        /// With its first record: everything that is on the log gets its notification.
        Earliest = "earliest",
        /// With what comes from now on.
        Latest = "latest",
    }
}

naru_runtime::config! {
    /// Usage notifications: one for each transaction on the log.
    pub struct UsageConfig {
        /// Brokers to learn the cluster from: a relay, or any Kafka.
        pub bootstrap: Vec<HostPort>,
        /// Topics of transactions, whose records are JSON objects.
        pub topics: Vec<String>,
        /// The field with the transaction's id.
        pub id_field: String = "id",
        /// The field with the vault's token of the address.
        pub token_field: String = "user",
        /// Where a partition that was never read begins.
        pub from: From = "latest",
        /// What is said. `{field}` stands for a field of the record, `{a.b}` for one within another.
        pub text: String = "결제가 완료되었습니다.",
        /// Messages a second of this lane: its own share of the provider's rate, which campaigns never use.
        #[range("1", "100000")]
        pub per_second_max: u32 = "500",
    }
}

naru_runtime::config! {
    /// Sends campaigns and usage notifications, each message once.
    #[check(whole)]
    pub struct CourierConfig for "courier" {
        /// Address for campaigns, stops and status over HTTP; port 0 takes a free one. It has no authentication: leave it on loopback.
        pub listen: SocketAddr = "127.0.0.1:0",
        /// Address on which the provider calls back with receipts; port 0 takes a free one.
        pub receipts_listen: SocketAddr = "127.0.0.1:0",
        /// What the provider shows in the head x-webhook-signature when it calls back; without it anybody's receipts are believed.
        pub receipts_secret: Option<Secret>,
        /// Directory of the courier's log, for one process at a time.
        pub state: PathBuf,
        /// The provider.
        pub provider: ProviderConfig,
        /// The vault that resolves tokens; without it the provider is handed the tokens.
        pub vault: Option<VaultClientConfig>,
        /// Gateways, whose headroom holds campaigns back.
        #[key("edge")]
        pub edges: Vec<EdgeConfig>,
        /// Usage notifications; without it there are none.
        pub usage: Option<UsageConfig>,
        /// File of those who want nothing, a token a line; read when a campaign begins or goes on.
        pub suppression: Option<PathBuf>,
        /// Days within which a recipient gets one campaign at most; 0 for no cap.
        #[range("0", "365")]
        pub cap_days: u16 = "1",
        /// How long before 21:00 by a recipient's clock no attempt is begun; at least twice the provider's timeout is taken.
        #[range("1s", "1h")]
        pub hours_margin: Duration = "1m",
        /// Most recipients of a campaign's file, 21 bytes of memory each.
        #[range("1", "100000000")]
        pub recipients_max: u32 = "12000000",
        /// Longest wait for what is in hand when the courier is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn whole(config: &CourierConfig) -> Result<(), Mistake> {
    let life = config.key_life();
    if life.margin_ms * 2 > life.lifetime_ms {
        let what = "has a provider.key_lifetime below four times provider.timeout";
        return Err(Mistake::new(what, "a key must outlive its attempts: choose a shorter timeout"));
    }
    if let Some(usage) = &config.usage {
        if usage.bootstrap.is_empty() || usage.topics.is_empty() {
            let what = "has usage notifications without a broker or a topic";
            return Err(Mistake::new(what, "name bootstrap and topics under [usage]"));
        }
        if u64::from(usage.per_second_max) * 60 >= u64::from(config.provider.per_minute_max) {
            let what = "has usage.per_second_max as high as provider.per_minute_max";
            return Err(Mistake::new(what, "leave campaigns some of the provider's rate"));
        }
    }
    Ok(())
}

impl CourierConfig {
    /// How long a key protects.
    pub fn key_life(&self) -> KeyLife {
        let ms = |length: Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4);
        // What was sent may linger on its way for about as long as an answer is waited for.
        KeyLife { lifetime_ms: ms(self.provider.key_lifetime), margin_ms: 2 * ms(self.provider.timeout) }
    }

    /// How long before the end of the hours nothing is begun, in milliseconds.
    pub fn hours_margin_ms(&self) -> i64 {
        millis(self.hours_margin).max(self.key_life().margin_ms)
    }

    /// Messages a minute that campaigns may have of the provider's rate.
    pub fn campaign_per_minute_max(&self) -> f64 {
        let usage = self.usage.as_ref().map_or(0.0, |usage| f64::from(usage.per_second_max) * 60.0);
        f64::from(self.provider.per_minute_max) - usage
    }
}

#[cfg(test)]
mod tests {
    use naru_runtime::config::Sources;

    use super::*;

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let check = |more: &str, expect: &str| {
            let text = format!("state = 's'\n[provider]\naddress = 'p:1'\n{more}");
            let said = Sources::default().document("courier.toml", text).load::<CourierConfig>();
            let said = said.map(|_| "right".to_owned()).unwrap_or_else(|errors| errors.to_string());
            assert!(said.contains(expect), "{said}");
        };
        check("", "right");
        check("key_lifetime = '10s'", "below four times");
        check("[usage]\nbootstrap = ['a:1']\ntopics = []", "without a broker or a topic");
        check("per_minute_max = 600\n[usage]\nbootstrap = ['a:1']\ntopics = ['t']\nper_second_max = 10", "as high as");
    }
}
