//! What a process that serves does about a violation. A test binary of its own, because the mode is the process's.

use naru_model::invariant;

#[test]
fn a_serving_process_counts_and_keeps_the_first_detail() {
    invariant::count_violations(|_, _| {});
    for offset in [3, 4] {
        naru_model::invariant!(BROKER_4, offset == 0, "offset {offset}");
    }
    assert_eq!(invariant::BROKER_4.violations(), 2);
    assert_eq!(invariant::BROKER_4.first_violation(), Some("offset 3"));
    assert_eq!(invariant::BROKER_3.violations(), 0);
    assert_eq!(invariant::BROKER_3.first_violation(), None);
}
