//! The services of a run: started, restarted by faults, stopped.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::sites;
use super::{DRAIN_WITHIN, OPENING_GRANT, Options, RehearsalError};
use crate::children::{self, Ended};
use crate::load::Target;
use crate::scenario::{SERVICES_AT, Scenario, Via};
use crate::service_process::{Listen, ServiceError, ServiceOptions, ServiceProcess};
use crate::state::State;

/// The flag that tells a service where the log is.
const BROKERS: &str = "--brokers";

/// The services by index.
pub(super) type Services = Arc<Vec<Mutex<ServiceProcess>>>;

/// Starts each service with the bootstrap address of the log that it publishes to.
pub(super) async fn start(
    options: &Options,
    state: &State,
    address: impl Fn(Via) -> String,
) -> Result<(Services, Vec<Target>), RehearsalError> {
    let at = if options.scenario.edge.is_some() { sites::owned_ip(SERVICES_AT) } else { Ipv4Addr::LOCALHOST.into() };
    let mut services = Vec::with_capacity(options.scenario.services.len());
    let mut targets = Vec::with_capacity(options.scenario.services.len());
    for (index, service) in options.scenario.services.iter().enumerate() {
        let name = service.kind.name();
        let dir = state.child(&format!("service-{name}"));
        let (data, grant) = (dir.join("data").display().to_string(), OPENING_GRANT.to_string());
        let brokers = address(service.via);
        let args = ["sample", name, BROKERS, &brokers, "--data", &data, "--opening-grant", &grant];
        let program = options.exe.clone();
        let args = args.map(str::to_owned).to_vec();
        let child = ServiceOptions { name: name.to_owned(), program, args, dir };
        let process = ServiceProcess::start_at(child, Listen::Flag(at)).await.map_err(|source| error(name, source))?;
        let url = format!("http://{}", process.address());
        targets.push(Target { index, service: service.clone(), url: url.clone(), status_url: url });
        services.push(Mutex::new(process));
    }
    Ok((Arc::new(services), targets))
}

/// Starts every service again with another address of the log, as a changed configuration is rolled out in haste.
pub(super) async fn point_at(services: &Services, brokers: &str) -> Result<(), RehearsalError> {
    for process in services.iter() {
        let mut process = process.lock().await;
        let options = process.options_mut();
        let value = options.args.iter().position(|arg| arg == BROKERS).and_then(|flag| options.args.get_mut(flag + 1));
        *value.expect("every service is started with the address of the log") = brokers.to_owned();
        let name = options.name.clone();
        process.restart().await.map_err(|source| error(&name, source))?;
    }
    Ok(())
}

/// Asks every service to end, one after the other, and says how each did.
pub(super) async fn stop(scenario: &Scenario, services: &Services) -> Result<Vec<Ended>, RehearsalError> {
    let mut endings = Vec::with_capacity(services.len());
    for (service, process) in scenario.services.iter().zip(services.iter()) {
        let name = service.kind.name();
        let ending = process.lock().await.stop(DRAIN_WITHIN).await.map_err(|source| error(name, source))?;
        endings.push(Ended { child: format!("service {name}"), code: children::ENDS_WELL, ending });
    }
    Ok(endings)
}

fn error(name: &str, source: ServiceError) -> RehearsalError {
    RehearsalError::Service { name: name.to_owned(), source }
}
