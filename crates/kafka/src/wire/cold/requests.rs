//! The shape of every cold request that the guard knows, as Kafka's schemas give it.

use super::shape::{Field, shapes};

shapes! {
    API_VERSIONS: { client_software_name @3: str, client_software_version @3: str },
    METADATA: {
        topics: [{ topic_id @10: uuid, name: str }], allow_auto_topic_creation @4: bool,
        include_cluster_authorized_operations @8 to 10: bool, include_topic_authorized_operations @8: bool,
    },
    LIST_OFFSETS: {
        replica_id: i32, isolation_level @2: i8,
        topics: [{ name: str, partitions: [{ partition_index: i32, current_leader_epoch @4: i32, timestamp: i64 }] }],
        timeout_ms @10: i32,
    },
    OFFSET_COMMIT: {
        group_id: str, generation_id_or_member_epoch: i32, member_id: str, group_instance_id @7: str,
        retention_time_ms @0 to 4: i64,
        topics: [{
            name: str,
            partitions: [{ partition_index: i32, committed_offset: i64, committed_leader_epoch @6: i32, committed_metadata: str }],
        }],
    },
    OFFSET_FETCH: {
        group_id @0 to 7: str, topics @0 to 7: [{ name: str, partition_indexes: [i32] }],
        groups @8: [{ group_id: str, member_id @9: str, member_epoch @9: i32, topics: [{ name: str, partition_indexes: [i32] }] }],
        require_stable @7: bool,
    },
    FIND_COORDINATOR: { key @0 to 3: str, key_type @1: i8, coordinator_keys @4: [str] },
    JOIN_GROUP: {
        group_id: str, session_timeout_ms: i32, rebalance_timeout_ms @1: i32, member_id: str,
        group_instance_id @5: str, protocol_type: str, protocols: [{ name: str, metadata: bytes }], reason @8: str,
    },
    SYNC_GROUP: {
        group_id: str, generation_id: i32, member_id: str, group_instance_id @3: str, protocol_type @5: str,
        protocol_name @5: str, assignments: [{ member_id: str, assignment: bytes }],
    },
    HEARTBEAT: { group_id: str, generation_id: i32, member_id: str, group_instance_id @3: str },
    LEAVE_GROUP: {
        group_id: str, member_id @0 to 2: str,
        members @3: [{ member_id: str, group_instance_id: str, reason @5: str }],
    },
    DESCRIBE_GROUPS: { groups: [str], include_authorized_operations @3: bool },
    LIST_GROUPS: { states_filter @4: [str], types_filter @5: [str] },
    DELETE_GROUPS: { groups_names: [str] },
    OFFSET_DELETE: { group_id: str, topics: [{ name: str, partitions: [{ partition_index: i32 }] }] },
    CREATE_TOPICS: {
        topics: [{
            name: str, num_partitions: i32, replication_factor: i16,
            assignments: [{ partition_index: i32, broker_ids: [i32] }], configs: [{ name: str, value: str }],
        }],
        timeout_ms: i32, validate_only: bool,
    },
    DELETE_TOPICS: { topics @6: [{ name: str, topic_id: uuid }], topic_names @0 to 5: [str], timeout_ms: i32 },
    CREATE_PARTITIONS: {
        topics: [{ name: str, count: i32, assignments: [{ broker_ids: [i32] }] }], timeout_ms: i32,
        validate_only: bool,
    },
    DELETE_RECORDS: { topics: [{ name: str, partitions: [{ partition_index: i32, offset: i64 }] }], timeout_ms: i32 },
    DESCRIBE_CONFIGS: {
        resources: [{ resource_type: i8, resource_name: str, configuration_keys: [str] }], include_synonyms: bool,
        include_documentation @3: bool,
    },
    ALTER_CONFIGS: {
        resources: [{ resource_type: i8, resource_name: str, configs: [{ name: str, value: str }] }],
        validate_only: bool,
    },
    INCREMENTAL_ALTER_CONFIGS: {
        resources: [{ resource_type: i8, resource_name: str, configs: [{ name: str, config_operation: i8, value: str }] }],
        validate_only: bool,
    },
    INIT_PRODUCER_ID: { transactional_id: str, transaction_timeout_ms: i32, producer_id @3: i64, producer_epoch @3: i16 },
    OFFSET_FOR_LEADER_EPOCH: {
        replica_id @3: i32,
        topics: [{ topic: str, partitions: [{ partition: i32, current_leader_epoch: i32, leader_epoch: i32 }] }],
    },
    DESCRIBE_CLUSTER: { include_cluster_authorized_operations: bool, endpoint_type @1: i8, include_fenced_brokers @2: bool },
    DESCRIBE_PRODUCERS: { topics: [{ name: str, partition_indexes: [i32] }] },
    DESCRIBE_TOPIC_PARTITIONS: {
        topics: [{ name: str }], response_partition_limit: i32,
        cursor: (nullable { topic_name: str, partition_index: i32 }),
    },
    SASL_HANDSHAKE: { mechanism: str },
    SASL_AUTHENTICATE: { auth_bytes: bytes },
    DESCRIBE_LOG_DIRS: { topics: [{ topic: str, partitions: [i32] }] },
    DESCRIBE_ACLS: {
        resource_type_filter: i8, resource_name_filter: str, pattern_type_filter: i8, principal_filter: str,
        host_filter: str, operation: i8, permission_type: i8,
    },
    CREATE_ACLS: {
        creations: [{
            resource_type: i8, resource_name: str, resource_pattern_type: i8, principal: str, host: str,
            operation: i8, permission_type: i8,
        }],
    },
    DELETE_ACLS: {
        filters: [{
            resource_type_filter: i8, resource_name_filter: str, pattern_type_filter: i8, principal_filter: str,
            host_filter: str, operation: i8, permission_type: i8,
        }],
    },
}
