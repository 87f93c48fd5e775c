//! The shape of every cold answer that the guard knows, as Kafka's schemas give it.

use super::shape::{Field, shapes};

shapes! {
    API_VERSIONS: {
        error_code: i16, api_keys: [{ api_key: i16, min_version: i16, max_version: i16 }], throttle_time_ms @1: i32,
        supported_features tag 0: [{ name @3: str, min_version @3: i16, max_version @3: i16 }],
        finalized_features_epoch tag 1: i64,
        finalized_features tag 2: [{ name @3: str, max_version_level @3: i16, min_version_level @3: i16 }],
        zk_migration_ready tag 3: bool,
    },
    METADATA: {
        throttle_time_ms @3: i32, brokers: [{ node_id: i32, host: str, port: i32, rack @1: str }],
        cluster_id @2: str, controller_id @1: i32,
        topics: [{
            error_code: i16, name: str, topic_id @10: uuid, is_internal @1: bool,
            partitions: [{
                error_code: i16, partition_index: i32, leader_id: i32, leader_epoch @7: i32, replica_nodes: [i32],
                isr_nodes: [i32], offline_replicas @5: [i32],
            }],
            topic_authorized_operations @8: i32,
        }],
        cluster_authorized_operations @8 to 10: i32, error_code @13: i16,
    },
    LIST_OFFSETS: {
        throttle_time_ms @2: i32,
        topics: [{
            name: str,
            partitions: [{ partition_index: i32, error_code: i16, timestamp: i64, offset: i64, leader_epoch @4: i32 }],
        }],
    },
    OFFSET_COMMIT: {
        throttle_time_ms @3: i32,
        topics: [{ name @0 to 9: str, topic_id @10: uuid, partitions: [{ partition_index: i32, error_code: i16 }] }],
    },
    OFFSET_FETCH: {
        throttle_time_ms @3: i32,
        topics @0 to 7: [{
            name: str,
            partitions: [{
                partition_index: i32, committed_offset: i64, committed_leader_epoch @5: i32, metadata: str,
                error_code: i16,
            }],
        }],
        error_code @2 to 7: i16,
        groups @8: [{
            group_id: str,
            topics: [{
                name @0 to 9: str, topic_id @10: uuid,
                partitions: [{
                    partition_index: i32, committed_offset: i64, committed_leader_epoch: i32, metadata: str,
                    error_code: i16,
                }],
            }],
            error_code: i16,
        }],
    },
    FIND_COORDINATOR: {
        throttle_time_ms @1: i32, error_code @0 to 3: i16, error_message @1 to 3: str, node_id @0 to 3: i32,
        host @0 to 3: str, port @0 to 3: i32,
        coordinators @4: [{ key: str, node_id: i32, host: str, port: i32, error_code: i16, error_message: str }],
    },
    JOIN_GROUP: {
        throttle_time_ms @2: i32, error_code: i16, generation_id: i32, protocol_type @7: str, protocol_name: str,
        leader: str, skip_assignment @9: bool, member_id: str,
        members: [{ member_id: str, group_instance_id @5: str, metadata: bytes }],
    },
    SYNC_GROUP: { throttle_time_ms @1: i32, error_code: i16, protocol_type @5: str, protocol_name @5: str, assignment: bytes },
    HEARTBEAT: { throttle_time_ms @1: i32, error_code: i16 },
    LEAVE_GROUP: {
        throttle_time_ms @1: i32, error_code: i16,
        members @3: [{ member_id: str, group_instance_id: str, error_code: i16 }],
    },
    DESCRIBE_GROUPS: {
        throttle_time_ms @1: i32,
        groups: [{
            error_code: i16, error_message @6: str, group_id: str, group_state: str, protocol_type: str,
            protocol_data: str,
            members: [{
                member_id: str, group_instance_id @4: str, client_id: str, client_host: str, member_metadata: bytes,
                member_assignment: bytes,
            }],
            authorized_operations @3: i32,
        }],
    },
    LIST_GROUPS: {
        throttle_time_ms @1: i32, error_code: i16,
        groups: [{ group_id: str, protocol_type: str, group_state @4: str, group_type @5: str }],
    },
    DELETE_GROUPS: { throttle_time_ms: i32, results: [{ group_id: str, error_code: i16 }] },
    OFFSET_DELETE: {
        error_code: i16, throttle_time_ms: i32,
        topics: [{ name: str, partitions: [{ partition_index: i32, error_code: i16 }] }],
    },
    CREATE_TOPICS: {
        throttle_time_ms: i32,
        topics: [{
            name: str, topic_id @7: uuid, error_code: i16, error_message: str, num_partitions @5: i32,
            replication_factor @5: i16,
            configs @5: [{ name: str, value: str, read_only: bool, config_source: i8, is_sensitive: bool }],
            topic_config_error_code tag 0: i16,
        }],
    },
    DELETE_TOPICS: { throttle_time_ms: i32, responses: [{ name: str, topic_id @6: uuid, error_code: i16, error_message @5: str }] },
    CREATE_PARTITIONS: { throttle_time_ms: i32, results: [{ name: str, error_code: i16, error_message: str }] },
    DELETE_RECORDS: {
        throttle_time_ms: i32,
        topics: [{ name: str, partitions: [{ partition_index: i32, low_watermark: i64, error_code: i16 }] }],
    },
    DESCRIBE_CONFIGS: {
        throttle_time_ms: i32,
        results: [{
            error_code: i16, error_message: str, resource_type: i8, resource_name: str,
            configs: [{
                name: str, value: str, read_only: bool, config_source: i8, is_sensitive: bool,
                synonyms: [{ name: str, value: str, source: i8 }], config_type @3: i8, documentation @3: str,
            }],
        }],
    },
    ALTER_CONFIGS: {
        throttle_time_ms: i32,
        responses: [{ error_code: i16, error_message: str, resource_type: i8, resource_name: str }],
    },
    INCREMENTAL_ALTER_CONFIGS: {
        throttle_time_ms: i32,
        responses: [{ error_code: i16, error_message: str, resource_type: i8, resource_name: str }],
    },
    INIT_PRODUCER_ID: {
        throttle_time_ms: i32, error_code: i16, producer_id: i64, producer_epoch: i16,
        ongoing_txn_producer_id @6: i64, ongoing_txn_producer_epoch @6: i16,
    },
    OFFSET_FOR_LEADER_EPOCH: {
        throttle_time_ms: i32,
        topics: [{ topic: str, partitions: [{ error_code: i16, partition: i32, leader_epoch: i32, end_offset: i64 }] }],
    },
    DESCRIBE_CLUSTER: {
        throttle_time_ms: i32, error_code: i16, error_message: str, endpoint_type @1: i8, cluster_id: str,
        controller_id: i32, brokers: [{ broker_id: i32, host: str, port: i32, rack: str, is_fenced @2: bool }],
        cluster_authorized_operations: i32,
    },
    DESCRIBE_PRODUCERS: {
        throttle_time_ms: i32,
        topics: [{
            name: str,
            partitions: [{
                partition_index: i32, error_code: i16, error_message: str,
                active_producers: [{
                    producer_id: i64, producer_epoch: i32, last_sequence: i32, last_timestamp: i64,
                    coordinator_epoch: i32, current_txn_start_offset: i64,
                }],
            }],
        }],
    },
    DESCRIBE_TOPIC_PARTITIONS: {
        throttle_time_ms: i32,
        topics: [{
            error_code: i16, name: str, topic_id: uuid, is_internal: bool,
            partitions: [{
                error_code: i16, partition_index: i32, leader_id: i32, leader_epoch: i32, replica_nodes: [i32],
                isr_nodes: [i32], eligible_leader_replicas: [i32], last_known_elr: [i32], offline_replicas: [i32],
            }],
            topic_authorized_operations: i32,
        }],
        next_cursor: (nullable { topic_name: str, partition_index: i32 }),
    },
    SASL_HANDSHAKE: { error_code: i16, mechanisms: [str] },
    SASL_AUTHENTICATE: { error_code: i16, error_message: str, auth_bytes: bytes, session_lifetime_ms @1: i64 },
    DESCRIBE_LOG_DIRS: {
        throttle_time_ms: i32, error_code @3: i16,
        results: [{
            error_code: i16, log_dir: str,
            topics: [{
                name: str,
                partitions: [{ partition_index: i32, partition_size: i64, offset_lag: i64, is_future_key: bool }],
            }],
            total_bytes @4: i64, usable_bytes @4: i64,
        }],
    },
    DESCRIBE_ACLS: {
        throttle_time_ms: i32, error_code: i16, error_message: str,
        resources: [{
            resource_type: i8, resource_name: str, pattern_type: i8,
            acls: [{ principal: str, host: str, operation: i8, permission_type: i8 }],
        }],
    },
    CREATE_ACLS: { throttle_time_ms: i32, results: [{ error_code: i16, error_message: str }] },
    DELETE_ACLS: {
        throttle_time_ms: i32,
        filter_results: [{
            error_code: i16, error_message: str,
            matching_acls: [{
                error_code: i16, error_message: str, resource_type: i8, resource_name: str, pattern_type: i8,
                principal: str, host: str, operation: i8, permission_type: i8,
            }],
        }],
    },
}
