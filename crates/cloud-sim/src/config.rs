//! The settings of a simulated cloud.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::Mistake;
use naru_runtime::telemetry::TelemetryConfig;

use crate::api::FlavorView;
use crate::cloud::{Behaviour, Flavor};

naru_runtime::config! {
    /// A kind of machine that can be rented.
    pub struct FlavorConfig {
        /// Its name.
        pub name: String,
        /// Processors.
        #[range("1", "1024")]
        pub cpus: u32 = "2",
        /// Memory in MiB.
        pub memory_mib: u64 = "4096",
        /// Storage in GiB.
        pub storage_gib: u64 = "20",
        /// Price in won for each hour begun, rented ahead.
        pub reserved_krw_per_hour: u64 = "600",
        /// Price in won for each hour begun, on demand.
        pub on_demand_krw_per_hour: u64 = "1000",
        /// Most at once, of all renters.
        #[range("0", "100000")]
        pub machines_max: u32 = "100",
        /// Half of the boots are shorter.
        pub boot_p50: Duration = "3m",
        /// How much boots differ: standard deviation of the logarithm, in percent.
        #[range("0", "200")]
        pub boot_deviation_percent: u32 = "25",
    }
}

naru_runtime::config! {
    /// A simulated cloud with an EC2-like API, for rehearsals and tests. Anyone who reaches its port may rent.
    #[check(flavors_differ)]
    pub struct CloudSimConfig for "cloud-sim" {
        /// Address to listen on; port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:7550",
        /// Directory of what was rented.
        pub state: PathBuf,
        /// Decides boots, visibility, reclaims and lost answers: the same seed and calls give the same cloud.
        pub seed: u64 = "1",
        /// The cloud's calendar runs this many times as fast: boots, hours and reclaims are shorter.
        #[range("1", "100000")]
        pub day_factor: u32 = "1",
        /// What can be rented.
        #[key("flavor")]
        pub flavors: Vec<FlavorConfig>,
        /// Requests a second over time; more are refused.
        #[range("1", "100000")]
        pub requests_per_second: u32 = "20",
        /// Requests at once before that counts.
        #[range("1", "100000")]
        pub requests_burst: u32 = "100",
        /// The longest time for which a list does not show a new machine, or shows one that ended.
        pub visible_max: Duration = "2s",
        /// Chance, in millionths, that a call is carried out and its answer lost.
        #[range("0", "1000000")]
        pub lost_answer_ppm: u32 = "0",
        /// Chance, in millionths, that a machine on demand is taken back within each hour.
        #[range("0", "1000000")]
        pub reclaim_ppm_per_hour: u32 = "0",
        /// Longest wait for requests in hand when the cloud is told to stop.
        pub drain_max: Duration = "5s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

fn flavors_differ(config: &CloudSimConfig) -> Result<(), Mistake> {
    for (index, flavor) in config.flavors.iter().enumerate() {
        if config.flavors[..index].iter().any(|other| other.name == flavor.name) {
            let what = format!("has the flavor {:?} twice", flavor.name);
            return Err(Mistake::new(what, "give each flavor one [[flavor]]"));
        }
    }
    Ok(())
}

fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

impl CloudSimConfig {
    /// How the cloud behaves.
    pub fn behaviour(&self) -> Behaviour {
        let flavor = |flavor: &FlavorConfig| Flavor {
            view: FlavorView {
                name: flavor.name.clone(),
                cpus: flavor.cpus,
                memory_mib: flavor.memory_mib,
                storage_gib: flavor.storage_gib,
                reserved_krw_per_hour: flavor.reserved_krw_per_hour,
                on_demand_krw_per_hour: flavor.on_demand_krw_per_hour,
            },
            machines_max: flavor.machines_max,
            boot_ms_p50: ms(flavor.boot_p50),
            boot_deviation: f64::from(flavor.boot_deviation_percent) / 100.0,
        };
        // Requests and lists belong to the wall clock, and the cloud lives by the day's.
        let factor = self.day_factor;
        Behaviour {
            seed: self.seed,
            flavors: self.flavors.iter().map(flavor).collect(),
            requests_per_second: f64::from(self.requests_per_second) / f64::from(factor),
            requests_burst: f64::from(self.requests_burst),
            visible_ms_max: ms(self.visible_max).saturating_mul(u64::from(factor)),
            lost_answer_ppm: self.lost_answer_ppm,
            reclaim_ppm_per_hour: self.reclaim_ppm_per_hour,
        }
    }
}
