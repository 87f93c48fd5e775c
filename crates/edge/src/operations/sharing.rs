//! Asks for leases, and on one gateway gives them out, over UDP: what is lost is asked again before a lease ends.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::tasks::Tasks;
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

use crate::config::SharingConfig;
use crate::gateway::Gateway;
use crate::policy::Millis;
use crate::sharing::ledger::{Ledger, Refused, Terms};
use crate::sharing::message::{Answer, Question, Wish, opened, sealed};
use crate::sharing::{ASK_EVERY, DATAGRAM_BYTES_MAX, LEASE_MS, SITES_MAX};

/// After the system refused to receive: a network that comes back needs no more.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

fn ms(length: Duration) -> Millis {
    Millis::try_from(length.as_millis()).unwrap_or(Millis::MAX)
}

/// Gives out leases where the configuration says, if it does, until the tasks are told to stop.
///
/// # Errors
/// When the address cannot be bound.
pub async fn coordinate(gateway: &Arc<Gateway>, tasks: &Tasks) -> io::Result<()> {
    let in_force = gateway.in_force();
    let Some(sharing) = &in_force.config.sharing else { return Ok(()) };
    let Some(address) = sharing.coordinate else { return Ok(()) };
    let socket = UdpSocket::bind(address).await?;
    let terms = Terms { gateways: sharing.gateways, safe: sharing.safe(), settle_ms: ms(sharing.settle) };
    let (gateway, stop) = (gateway.clone(), tasks.stop_token());
    tasks.spawn("leases", async move {
        stop.run_until_cancelled(give_out(&gateway, &socket, terms)).await;
    });
    Ok(())
}

async fn give_out(gateway: &Gateway, socket: &UdpSocket, terms: Terms) {
    let mut ledger = Ledger::new(terms, gateway.now());
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    // Each gateway's last fault, so that one that asks ten times a second is not written down as often.
    let mut told: Vec<Option<(u64, Refused)>> = vec![None; terms.gateways as usize];
    loop {
        let (bytes, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => {
                // A gateway that is gone, as the network says it; or the system has no memory for the moment.
                tracing::debug!(%error, "a question could not be received");
                tokio::time::sleep(REFUSED_WAIT).await;
                continue;
            }
        };
        let Some(question) = opened::<Question>(&gateway.tokens, &datagram[..bytes]) else {
            tracing::debug!(%from, "a question that is none of ours");
            continue;
        };
        match ledger.ask(gateway.now(), &question) {
            Ok(grants) => {
                let answer = Answer { run: question.run, sequence: question.sequence, grants };
                if let Err(error) = socket.send_to(&sealed(&gateway.tokens, &answer), from).await {
                    tracing::debug!(%from, %error, "an answer could not be sent");
                }
            }
            Err(Refused::Old) => {}
            Err(why) => {
                let at = (question.number as usize).saturating_sub(1) % told.len();
                if told[at].replace((question.run, why)) != Some((question.run, why)) {
                    tracing::warn!(number = question.number, %from, %why, "a gateway gets no lease");
                }
            }
        }
    }
}

/// Asks for leases, if sites are shared, until the tasks are told to stop or the port goes to another process.
pub async fn keep_asking(gateway: &Arc<Gateway>, tasks: &Tasks) -> io::Result<()> {
    let Some(sharing) = gateway.in_force().config.sharing.clone() else { return Ok(()) };
    let from = match sharing.coordinator {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(from).await?;
    // Answers of anybody else are not even looked at.
    socket.connect(sharing.coordinator).await?;
    let (gateway, stop) = (gateway.clone(), tasks.stop_token());
    let mut asker = Asker { gateway, socket, sharing, run: rand::random(), sequence: 0, sent_at: 0, is_leased: false };
    tasks.spawn("lease", async move {
        stop.run_until_cancelled(asker.run()).await;
    });
    Ok(())
}

struct Asker {
    gateway: Arc<Gateway>,
    socket: UdpSocket,
    sharing: SharingConfig,
    run: u64,
    sequence: u64,
    /// When the last question was sent, as far as leases begin.
    sent_at: Millis,
    /// Whether the last lease still runs; false before the first.
    is_leased: bool,
}

impl Asker {
    async fn run(&mut self) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let mut has_left = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let leaves = self.gateway.is_handed_over();
                    if !(leaves && has_left) {
                        self.look();
                        self.ask(leaves).await;
                    }
                    has_left = leaves;
                }
                received = self.socket.recv(&mut datagram) => match received {
                    Ok(bytes) => self.hear(&datagram[..bytes]),
                    Err(error) => {
                        // Nobody listens there.
                        tracing::debug!(%error, "no lease was answered");
                        tokio::time::sleep(REFUSED_WAIT).await;
                    }
                },
            }
        }
    }

    async fn ask(&mut self, leaves: bool) {
        // From here on no answer to an earlier question counts: what is said below is all that this gateway may have.
        self.sequence += 1;
        self.sent_at = self.gateway.now();
        let in_force = self.gateway.in_force();
        let wish = |site: &Arc<crate::policy::Site>| {
            let (site_name, granted) = (site.id().as_str().to_owned(), site.granted(self.sent_at));
            Wish { site: site_name, granted, held: site.held(), demand: site.demand() }
        };
        let wishes = in_force.policy.sites().iter().take(SITES_MAX).map(wish).collect();
        let question = Question {
            number: self.sharing.number,
            run: self.run,
            sequence: self.sequence,
            gateways: self.sharing.gateways,
            safe: self.sharing.safe(),
            leaves,
            wishes,
        };
        if let Err(error) = self.socket.send(&sealed(&self.gateway.tokens, &question)).await {
            tracing::debug!(%error, "a lease could not be asked for");
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Some(answer) = opened::<Answer>(&self.gateway.tokens, datagram) else { return };
        if (answer.run, answer.sequence) != (self.run, self.sequence) {
            return;
        }
        let in_force = self.gateway.in_force();
        for (name, part) in &answer.grants {
            if let Some(site) = in_force.policy.sites().iter().find(|site| site.id().as_str() == name) {
                site.lease(*part, self.sent_at.saturating_add(LEASE_MS));
            }
        }
        if !self.is_leased {
            tracing::info!("slots are leased");
        }
        self.is_leased = true;
    }

    /// Says once that no lease runs any more.
    fn look(&mut self) {
        let is_over = self.gateway.now() >= self.leased_until();
        if is_over && self.is_leased {
            tracing::warn!(coordinator = %self.sharing.coordinator, "no lease was answered, the safe part is left");
            self.is_leased = false;
        }
    }

    fn leased_until(&self) -> Millis {
        let in_force = self.gateway.in_force();
        in_force.policy.sites().iter().filter_map(|site| site.leased_until()).max().unwrap_or_default()
    }
}
