//! Two hours in which nothing happens: nobody is woken.

use crate::world::World;

#[test]
fn two_quiet_hours_wake_nobody() {
    let mut world = World::new(1);
    world.play(7_200);
    let incidents: Vec<_> = world.engine.desk.incidents().map(|one| (&one.cause, &one.signals)).collect();
    assert_eq!(world.pages, 0, "{incidents:#?}");
    assert!(incidents.is_empty(), "{incidents:#?}");
}
