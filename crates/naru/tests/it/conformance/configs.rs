//! Options of topics: describing and altering them.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request,
    incremental_alter_configs_request,
};

use super::broker::{Broker, text, until};
use super::code::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from.
const SET_ON_TOPIC: i8 = 1;
const BY_DEFAULT: i8 = 5;

/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Broker {
    fn configs(&mut self, version: i16, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
        let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys);
        self.call(version, &DescribeConfigsRequest::default().with_resources(vec![resource])).results.remove(0)
    }

    /// (value, source) of one option of a topic.
    fn config(&mut self, topic: &str, key: &str) -> (String, i8) {
        let answer = self.configs(4, TOPIC, topic, Some(&[key]));
        assert_eq!((answer.error_code, answer.configs.len()), (0, 1), "{answer:?}");
        (answer.configs[0].value.as_deref().unwrap().to_owned(), answer.configs[0].config_source)
    }

    /// One change of one option.
    fn alter(&mut self, topic: &str, key: &str, operation: i8, value: Option<&str>, validate_only: bool) -> i16 {
        let change = incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![change]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        self.call(1, &request.with_validate_only(validate_only)).responses[0].error_code
    }
}

#[test]
fn options_have_kafkas_defaults() {
    let mut broker = Broker::shared();
    let topic = broker.topic("defaults");
    let rows = [
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
        ("segment.bytes", "1073741824"),
        ("segment.ms", "604800000"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
        ("delete.retention.ms", "86400000"),
        ("min.cleanable.dirty.ratio", "0.5"),
        ("unclean.leader.election.enable", "false"),
    ];
    for (key, expect) in rows {
        assert_eq!(broker.config(&topic.name, key), (expect.to_owned(), BY_DEFAULT), "{key}");
    }
}

#[test]
fn every_version_describes_what_is_set() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("described", 1, &[("retention.ms", "1234567")]);
    for version in 1..=4 {
        let answer = broker.configs(version, TOPIC, &topic.name, None);
        assert_eq!(answer.error_code, 0);
        let set: Vec<_> = answer
            .configs
            .iter()
            .filter(|config| config.config_source == SET_ON_TOPIC)
            .map(|config| (config.name.as_str(), config.value.as_deref()))
            .collect();
        assert_eq!(set, [("retention.ms", Some("1234567"))], "version {version}");
        assert!(answer.configs.len() > 10, "all options are listed");
    }
    assert_eq!(broker.configs(4, TOPIC, "no-such-topic", None).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(broker.configs(4, BROKER, "1", None).error_code, 0);
    assert_eq!(broker.configs(4, TOPIC, &topic.name, Some(&["no.such.option"])).configs.len(), 0);
}

#[test]
fn an_option_is_set_added_to_and_taken_back() {
    let mut broker = Broker::shared();
    let topic = broker.topic("altered");
    let rows = [
        ("retention.ms", SET, Some("5000"), ("5000", SET_ON_TOPIC)),
        ("retention.ms", DELETE, None, ("604800000", BY_DEFAULT)),
        ("cleanup.policy", APPEND, Some("compact"), ("delete,compact", SET_ON_TOPIC)),
        ("cleanup.policy", SUBTRACT, Some("delete"), ("compact", SET_ON_TOPIC)),
    ];
    for (key, operation, value, expect) in rows {
        let before = broker.config(&topic.name, key);
        assert_eq!(broker.alter(&topic.name, key, operation, value, true), 0);
        assert_eq!(broker.config(&topic.name, key), before, "only validated");
        assert_eq!(broker.alter(&topic.name, key, operation, value, false), 0);
        let expect = (expect.0.to_owned(), expect.1);
        until("the change is seen", || (broker.config(&topic.name, key) == expect).then_some(()));
    }
}

#[test]
fn an_option_that_cannot_be_is_refused() {
    let mut broker = Broker::shared();
    let topic = broker.topic("refused");
    let rows = [
        ("no.such.option", SET, Some("1"), INVALID_CONFIG),
        ("retention.ms", SET, Some("soon"), INVALID_CONFIG),
        ("cleanup.policy", SET, Some("shred"), INVALID_CONFIG),
        ("max.message.bytes", SET, Some("-1"), INVALID_CONFIG),
        ("retention.ms", APPEND, Some("1"), INVALID_CONFIG),
    ];
    for (key, operation, value, expect) in rows {
        assert_eq!(broker.alter(&topic.name, key, operation, value, false), expect, "{key} {value:?}");
    }
    assert_eq!(broker.alter("no-such-topic", "retention.ms", SET, Some("1"), false), UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn the_older_request_replaces_all_options() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("replaced", 1, &[("retention.ms", "5000"), ("max.message.bytes", "2000")]);
    for version in 0..=2 {
        let value = format!("{}", 7000 + version);
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text(&value)));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&topic.name))
            .with_configs(vec![config]);
        let answer = broker.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(answer.responses[0].error_code, 0, "version {version}");
        let expect = (value, SET_ON_TOPIC);
        until("the change is seen", || (broker.config(&topic.name, "retention.ms") == expect).then_some(()));
        assert_eq!(broker.config(&topic.name, "max.message.bytes"), ("1048588".to_owned(), BY_DEFAULT));
    }
}

#[test]
fn a_changed_limit_is_in_force_at_once() {
    let mut broker = Broker::shared();
    let topic = broker.topic("limit");
    let batch = super::batch::Batch::of(super::broker::now_ms(), &["x".repeat(2000)]).encode();
    assert_eq!(broker.produce(&topic, 0, batch.clone()).error_code, 0);
    assert_eq!(broker.alter(&topic.name, "max.message.bytes", SET, Some("1000"), false), 0);
    until("the limit holds", || {
        (broker.produce(&topic, 0, batch.clone()).error_code == MESSAGE_TOO_LARGE).then_some(())
    });
}
