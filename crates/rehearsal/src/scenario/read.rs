//! From TOML to a [`Scenario`], collecting mistakes instead of stopping at the first.

use std::collections::HashSet;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::campaign::campaign;
use super::edge::{self, OWNED_SITES, SERVICES_AT};
use super::fields::{Fields, Reader, choice, flag, list, number, table, tables};
use super::lake::lake;
use super::relay::{self, Relay};
use super::{
    CLUSTERS_MAX, Cluster, Consumers, Expect, FAULTS_MAX, Fault, FaultKind, Flush, LATENESS_MAX, MEMBERS_MAX, Mistakes,
    OPERATIONS_MAX, PHASES_MAX, Phase, RATE_MAX, SERVICES_MAX, Scenario, Service, ServiceKind, USERS_MAX, VERSION, Via,
    Victim,
};

/// A scenario file of more is refused unread.
const FILE_BYTES_MAX: usize = 1 << 20;

pub(super) fn scenario(file: &str, text: &str) -> Result<Scenario, Mistakes> {
    let mut reader = Reader::new(text);
    let scenario = if text.len() > FILE_BYTES_MAX {
        reader.mistake(0..0, "the file has more than 1 MiB", "a scenario is a page or two; is this the right file?");
        None
    } else {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().unwrap_or(0..0);
            reader.mistake(at, format!("not TOML: {}", error.message()), "see https://toml.io");
        }
        root_table(&mut reader, &root)
    };
    match scenario {
        Some(scenario) if reader.mistakes.is_empty() => Ok(scenario),
        _ => {
            reader.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Err(Mistakes { file: file.to_owned(), list: reader.mistakes })
        }
    }
}

fn root_table(reader: &mut Reader<'_>, root: &Spanned<DeTable<'_>>) -> Option<Scenario> {
    let mut fields = Fields::new("the scenario", root.get_ref(), 0..0);
    match fields.required(reader, "version", "1") {
        Some(value) if value.get_ref().as_integer().is_some_and(|v| v.as_str() == "1") => {}
        Some(value) => reader.mistake(
            value.span(),
            "this build does not read that `version`",
            format!("write `version = {VERSION}`"),
        ),
        None => {}
    }
    let name = fields.name(reader, "name", "first").map(|(name, _)| name.to_owned());
    let title = fields.text(reader, "title", "A broker dies under load").map(|(title, _)| title.to_owned());
    let seed = fields.integer(reader, "seed", 0..=i64::MAX, 1).and_then(|seed| u64::try_from(seed).ok());

    // Names count even where the rest of a table is wrong: a reference to it is not a second mistake.
    let cluster_names = names(root.get_ref(), "cluster");
    let service_names = names(root.get_ref(), "service");
    let phase_names = names(root.get_ref(), "phase");
    let clusters = tables(reader, &mut fields, "cluster", "[[cluster]]", 1..=CLUSTERS_MAX, cluster);
    let has_relay = fields.find("relay").is_some();
    let relay = has_relay.then(|| {
        table(reader, &mut fields, "relay", "[relay]", |reader, fields| relay::relay(reader, fields, &cluster_names))
    });
    let has_edge = fields.find("edge").is_some();
    let edge = has_edge.then(|| table(reader, &mut fields, "edge", "[edge]", edge::edge));
    let campaign = fields.find("campaign").is_some().then(|| {
        table(reader, &mut fields, "campaign", "[campaign]", |reader, fields| {
            campaign(reader, fields, (&phase_names, has_edge))
        })
    });
    let has_lake = fields.find("lake").is_some();
    let lake = has_lake.then(|| table(reader, &mut fields, "lake", "[lake]", lake));
    let services = tables(reader, &mut fields, "service", "[[service]]", 1..=SERVICES_MAX, |reader, fields| {
        service(reader, fields, &cluster_names, has_relay)
    });
    let phases = tables(reader, &mut fields, "phase", "[[phase]]", 1..=PHASES_MAX, |reader, fields| {
        phase(reader, fields, &service_names, has_edge)
    });
    let consumers = table(reader, &mut fields, "consumers", "[consumers]", |reader, fields| {
        consumers(reader, fields, &cluster_names, has_relay)
    });
    let members = consumers.as_ref().map_or(usize::MAX, |c| c.members);
    let lasts: Vec<Duration> = phases.iter().flatten().map(|p| p.lasts).collect();
    let faults = tables(reader, &mut fields, "fault", "[[fault]]", 0..=FAULTS_MAX, |reader, fields| {
        fault(
            reader,
            fields,
            &Names {
                clusters: &cluster_names,
                services: &service_names,
                phases: &phase_names,
                has_relay,
                has_edge,
                has_lake,
                relay: relay.as_ref().and_then(Option::as_ref),
            },
            &lasts,
            members,
        )
    });
    let settle_max = fields.seconds(reader, "settle_seconds_max", Some(30.0));
    let expect = match fields.find("expect") {
        None => Some(Expect {
            failed_max: 0,
            unknown_max: 0,
            lateness_max: LATENESS_MAX,
            service_p99_max: None,
            consumer_p99_max: None,
            takeover_max: None,
            switch_stall_max: None,
            rejoin_max: None,
        }),
        Some(value) => match value.get_ref().as_table() {
            Some(table) => expect(reader, Fields::new("[expect]", table, value.span()), has_relay),
            None => {
                reader.wrong_kind("expect", value, "a table, `[expect]`");
                None
            }
        },
    };
    if let (Some(services), Some(Consumers { via: Via::Cluster(read), .. })) = (&services, &consumers) {
        for service in services {
            let Via::Cluster(written) = service.via else { continue };
            if written != *read {
                let (own, theirs) = (&cluster_names[written], &cluster_names[*read]);
                let name = service.kind.name();
                reader.mistake(
                    fields.span_of("service"),
                    format!("service {name:?} publishes to cluster {own:?}, but the consumers read {theirs:?}"),
                    format!("let both use one cluster: nothing carries records from {own:?} to {theirs:?}"),
                );
            }
        }
    }
    unique(reader, &fields, "cluster", &cluster_names);
    unique(reader, &fields, "service", &service_names);
    unique(reader, &fields, "phase", &phase_names);
    if let Some(phases) = &phases {
        let expected: f64 = phases
            .iter()
            .map(|p| p.rates.iter().sum::<f64>() * p.lasts_on_kafka.unwrap_or(p.lasts).as_secs_f64())
            .sum();
        if phases.iter().all(|phase| phase.rates.iter().all(|rate| *rate == 0.0)) {
            reader.mistake(
                fields.span_of("phase"),
                "no phase has a rate: nothing would be sent, and nothing shown",
                "add `rate = { payment = 45 }` to a phase",
            );
        }
        // Arrivals are random: leave room above the expected number.
        if expected * 1.1 > OPERATIONS_MAX as f64 {
            reader.mistake(
                fields.span_of("phase"),
                format!("the phases add up to about {expected:.0} operations"),
                format!("stay below {OPERATIONS_MAX} with lower rates or shorter phases"),
            );
        }
    }
    fields.finish(reader);
    Some(Scenario {
        name: name?,
        title: title?,
        seed: seed?,
        clusters: clusters?,
        relay: whole(relay)?,
        copier: None,
        edge: whole(edge)?,
        campaign: whole(campaign)?,
        lake: whole(lake)?,
        services: services?,
        consumers: consumers?,
        phases: phases?,
        faults: faults?,
        settle_max: settle_max?,
        expect: expect?,
        is_part: false,
    })
}

/// What may be left out: nothing where it is, and no scenario where it is wrong.
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

fn names(root: &DeTable<'_>, key: &str) -> Vec<String> {
    let tables = root.iter().find(|(name, _)| name.get_ref().as_ref() == key).and_then(|(_, value)| {
        let array = value.get_ref().as_array()?;
        Some(array.iter().map(|item| item.get_ref().get("name").and_then(|name| name.get_ref().as_str()).unwrap_or("")))
    });
    tables.into_iter().flatten().map(str::to_owned).collect()
}

fn unique(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, key: &'static str, names: &[String]) {
    let mut seen = HashSet::new();
    for name in names.iter().filter(|name| !name.is_empty() && !seen.insert(name.as_str())) {
        reader.mistake(fields.span_of(key), format!("two [[{key}]] are called {name:?}"), "give each its own name");
    }
}

fn cluster(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>) -> Option<Cluster> {
    let name = fields.name(reader, "name", "a").map(|(name, _)| name.to_owned());
    let flush = match fields.find("flush") {
        None => Some(Flush::Fsync),
        Some(_) => fields
            .text(reader, "flush", "fsync")
            .and_then(|given| choice(reader, "flush", given, &[("fsync", Flush::Fsync), ("write", Flush::Write)])),
    };
    let lose_unflushed_tail = flag(reader, &mut fields, "lose_unflushed_tail");
    fields.finish(reader);
    Some(Cluster { name: name?, flush: flush?, lose_unflushed_tail: lose_unflushed_tail? })
}

fn service(
    reader: &mut Reader<'_>,
    mut fields: Fields<'_, '_>,
    clusters: &[String],
    has_relay: bool,
) -> Option<Service> {
    let kinds: Vec<(&str, ServiceKind)> = ServiceKind::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
    let kind = fields.text(reader, "name", "payment").and_then(|given| choice(reader, "name", given, &kinds));
    let via = relay::via(reader, &mut fields, clusters, has_relay);
    let users = fields.integer(reader, "users", 1..=USERS_MAX, 1_000).and_then(|users| u32::try_from(users).ok());
    let outstanding_max = fields
        .integer(reader, "outstanding_max", 1..=16_384, 512)
        .and_then(|outstanding| usize::try_from(outstanding).ok());
    let timeout = fields.integer(reader, "timeout_ms", 10..=120_000, 5_000).and_then(|ms| u64::try_from(ms).ok());
    fields.finish(reader);
    Some(Service {
        kind: kind?,
        via: via?,
        users: users?,
        outstanding_max: outstanding_max?,
        timeout: Duration::from_millis(timeout?),
    })
}

fn consumers(
    reader: &mut Reader<'_>,
    mut fields: Fields<'_, '_>,
    clusters: &[String],
    has_relay: bool,
) -> Option<Consumers> {
    let group = fields.name(reader, "group", "settlement").map(|(group, _)| group.to_owned());
    let via = relay::via(reader, &mut fields, clusters, has_relay);
    let members = fields.integer(reader, "members", 1..=MEMBERS_MAX, 2).and_then(|n| usize::try_from(n).ok());
    fields.finish(reader);
    Some(Consumers { group: group?, via: via?, members: members? })
}

fn phase(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>, services: &[String], has_edge: bool) -> Option<Phase> {
    let name = fields.name(reader, "name", "steady").map(|(name, _)| name.to_owned());
    let lasts = fields.seconds(reader, "seconds", None);
    let lasts_on_kafka = fields.find("seconds_kafka").is_some().then(|| fields.seconds(reader, "seconds_kafka", None));
    if let (Some(lasts), Some(Some(on_kafka))) = (lasts, lasts_on_kafka)
        && on_kafka < lasts
    {
        reader.mistake(
            fields.span_of("seconds_kafka"),
            "`seconds_kafka` is shorter than the phase",
            format!("write {} or more, or leave it out", lasts.as_secs_f64()),
        );
    }
    let ramp = fields.seconds(reader, "ramp_seconds", Some(0.0));
    if let (Some(lasts), Some(ramp)) = (lasts, ramp)
        && ramp > lasts
    {
        reader.mistake(
            fields.span_of("ramp_seconds"),
            "`ramp_seconds` is longer than the phase",
            format!("write a number up to {}", lasts.as_secs_f64()),
        );
    }
    let rates = match fields.find("rate") {
        None => Some(vec![0.0; services.len()]),
        Some(value) => match value.get_ref().as_table() {
            Some(table) => rates(reader, table, services),
            None => {
                reader.wrong_kind("rate", value, "a table of requests per second, `rate = { payment = 45 }`");
                None
            }
        },
    };
    let crowd = edge::crowd(reader, &mut fields, has_edge);
    fields.finish(reader);
    let lasts_on_kafka = whole(lasts_on_kafka)?;
    Some(Phase { name: name?, lasts: lasts?, lasts_on_kafka, rates: rates?, crowd: crowd?, ramp: ramp? })
}

fn rates(reader: &mut Reader<'_>, table: &DeTable<'_>, services: &[String]) -> Option<Vec<f64>> {
    let mut rates = vec![0.0; services.len()];
    let mut whole = true;
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let Some(index) = services.iter().position(|service| service == name) else {
            reader.mistake(
                key.span(),
                format!("no service is called {name:?}"),
                format!("use one of {}", list(services)),
            );
            whole = false;
            continue;
        };
        match number(reader, name, value, 0.0..=RATE_MAX) {
            Some(rate) => rates[index] = rate,
            None => whole = false,
        }
    }
    whole.then_some(rates)
}

/// What a fault may refer to.
struct Names<'a> {
    clusters: &'a [String],
    services: &'a [String],
    phases: &'a [String],
    has_relay: bool,
    has_edge: bool,
    has_lake: bool,
    relay: Option<&'a Relay>,
}

/// The owned site whose loss a fault plays. The services stand at the other one: no database is moved here.
fn site(reader: &mut Reader<'_>, fields: &mut Fields<'_, '_>, names: &Names<'_>) -> Option<Victim> {
    let sites = OWNED_SITES.map(str::to_owned);
    let site = fields.refers(reader, "site", "site", &sites, None)?;
    if !names.has_edge {
        reader.mistake(fields.span_of("site"), "the scenario has no sites", "add an [edge] table");
    } else if site == SERVICES_AT {
        let fix = format!("write `site = {:?}`", sites[1 - SERVICES_AT]);
        reader.mistake(fields.span_of("site"), "the services stand at that site, each only once", fix);
    }
    Some(Victim::Site(site))
}

/// The one process that a fault names by `cluster`, by `service`, by `relay = true` or by `lake = true`.
fn victim(reader: &mut Reader<'_>, fields: &mut Fields<'_, '_>, names: &Names<'_>) -> Option<Victim> {
    let named = (fields.find("cluster").is_some(), fields.find("service").is_some());
    let (relay, lake) = (flag(reader, fields, "relay")?, flag(reader, fields, "lake")?);
    for (key, victim, is_meant) in [("relay", Victim::Relay, relay), ("lake", Victim::Lake, lake)] {
        if is_meant {
            if named != (false, false) || (relay && lake) {
                let what = format!("the fault names both the `{key}` and another process");
                reader.mistake(fields.span_of(key), what, "write one [[fault]] for each");
            }
            return Some(victim);
        }
    }
    match named {
        (true, true) => {
            reader.mistake(
                fields.span_of("service"),
                "the fault names both a `cluster` and a `service`",
                "write one [[fault]] for each",
            );
            None
        }
        (false, true) => fields.refers(reader, "service", "service", names.services, None).map(Victim::Service),
        _ => fields.refers(reader, "cluster", "cluster", names.clusters, None).map(Victim::Cluster),
    }
}

const KINDS: [&str; 4] = ["kill", "pause", "leave", "switch"];

fn fault(
    reader: &mut Reader<'_>,
    mut fields: Fields<'_, '_>,
    names: &Names<'_>,
    lasts: &[Duration],
    members: usize,
) -> Option<Fault> {
    let kind = fields
        .text(reader, "kind", "kill")
        .and_then(|given| choice(reader, "kind", given, &KINDS.map(|kind| (kind, kind))));
    let is_switch = kind == Some("switch");
    let kind = match kind {
        Some("leave") => fields
            .integer(reader, "member", 0..=MEMBERS_MAX - 1, 0)
            .and_then(|member| usize::try_from(member).ok())
            .map(|member| FaultKind::Leave { member }),
        Some("switch") => relay::switch(reader, &mut fields, names.clusters, names.relay),
        Some("pause") => victim(reader, &mut fields, names).map(|victim| FaultKind::Pause { victim }),
        Some(_) if fields.find("site").is_some() => {
            let victim = site(reader, &mut fields, names);
            victim.map(|victim| FaultKind::Kill { victim, lose_disk: false })
        }
        Some(_) => {
            let victim = victim(reader, &mut fields, names);
            let lose_disk = flag(reader, &mut fields, "lose_disk");
            let why = match (victim, lose_disk) {
                (Some(Victim::Service(_)), Some(true)) => {
                    Some("a service that loses its disk loses what it has acknowledged and not yet published")
                }
                (Some(Victim::Relay), Some(true)) => {
                    Some("a relay that loses its disk forgets which side counts: another fault, and not one of these")
                }
                (Some(Victim::Lake), Some(true)) => {
                    Some("a lake that loses its disk begins anew, and what it showed before is gone")
                }
                _ => None,
            };
            if let Some(why) = why {
                reader.mistake(fields.span_of("lose_disk"), why, "use `lose_disk` with a `cluster`");
            }
            victim.zip(lose_disk).map(|(victim, lose_disk)| FaultKind::Kill { victim, lose_disk })
        }
        // The kind decides which of them are known; do not blame the others for it.
        None => {
            fields.known.extend(["cluster", "service", "relay", "lake", "site", "lose_disk", "member", "to"]);
            None
        }
    };
    if let Some(FaultKind::Leave { member }) = kind
        && member >= members
    {
        reader.mistake(
            fields.span_of("member"),
            format!("the group has no member {member}"),
            format!("members are numbered from 0 to {}", members.saturating_sub(1)),
        );
    }
    let needed = match (kind, kind.and_then(FaultKind::victim)) {
        (Some(FaultKind::Switch { .. }), _) => Some(("to", "relay", names.has_relay)),
        (_, Some(Victim::Relay)) => Some(("relay", "relay", names.has_relay)),
        (_, Some(Victim::Lake)) => Some(("lake", "lake", names.has_lake)),
        _ => None,
    };
    if let Some((key, part, false)) = needed {
        let (what, fix) = (format!("the scenario has no {part}"), format!("add a [{part}] table"));
        reader.mistake(fields.span_of(key), what, fix);
    }
    let phase = fields.refers(reader, "phase", "phase", names.phases, None);
    let at = fields.seconds(reader, "at_seconds", Some(0.0));
    let jitter = fields.seconds(reader, "jitter_seconds", Some(0.0));
    // A switch lasts as long as it takes.
    let duration = if is_switch { Some(Duration::ZERO) } else { fields.seconds(reader, "lasts_seconds", None) };
    if let (Some(phase), Some(at), Some(jitter)) = (phase, at, jitter)
        && lasts.get(phase).is_some_and(|lasts| at + jitter >= *lasts)
    {
        reader.mistake(
            fields.span_of("at_seconds"),
            "the fault would begin after its phase has ended",
            format!("keep `at_seconds` + `jitter_seconds` below {}", lasts[phase].as_secs_f64()),
        );
    }
    fields.finish(reader);
    Some(Fault { kind: kind?, phase: phase?, at: at?, jitter: jitter?, lasts: duration? })
}

fn expect(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>, has_relay: bool) -> Option<Expect> {
    let most = i64::try_from(OPERATIONS_MAX).unwrap_or(i64::MAX);
    let failed_max = fields.integer(reader, "failed_max", 0..=most, 0).and_then(|n| u64::try_from(n).ok());
    let unknown_max = fields.integer(reader, "unknown_max", 0..=most, 0).and_then(|n| u64::try_from(n).ok());
    // A value that is wrong has been reported; the default does not hide it.
    let lateness_max = fields.millis(reader, "lateness_ms_max").unwrap_or(LATENESS_MAX);
    let service_p99_max = fields.millis(reader, "service_p99_ms_max");
    let consumer_p99_max = fields.millis(reader, "consumer_p99_ms_max");
    let [takeover_max, switch_stall_max, rejoin_max] = relay::bounds(reader, &mut fields, has_relay);
    fields.finish(reader);
    Some(Expect {
        failed_max: failed_max?,
        unknown_max: unknown_max?,
        lateness_max,
        service_p99_max,
        consumer_p99_max,
        takeover_max,
        switch_stall_max,
        rejoin_max,
    })
}
