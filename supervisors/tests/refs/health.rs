//! What is said of a child's health, by itself and by others.

use supervisors::{Backoff, ChildRef, Strategy, Supervisor, Tree};
use tokio::time::Instant;

use crate::echo::{LONG, Say, Script, ms};

#[tokio::test(start_paused = true)]
async fn who_says_that_it_is_well_begins_its_back_off_anew() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let spec = script.child(&child).backoff(Backoff::exp(ms(100), ms(1000)));
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(99, LONG).child(spec);
    let tree = Tree::start(root, 1).await.unwrap();
    // Each delay, and who is called well before the next end.
    for (delay, well) in [(0, None), (100, Some(2)), (200, Some(4)), (0, None), (100, None), (200, Some(7)), (0, None)]
    {
        let (before, epoch) = (Instant::now(), child.epoch());
        tree.kill("root/child").await.unwrap();
        child.up_after(epoch).await;
        assert_eq!(before.elapsed().as_millis(), delay, "after incarnation {epoch}");
        if let Some(well) = well {
            // Only the current incarnation counts.
            child.healthy(well);
        }
    }
    let epoch = child.epoch();
    child.cast(Say::Well).unwrap();
    child.cast(Say::Fail).unwrap();
    let before = Instant::now();
    child.up_after(epoch).await;
    assert_eq!(before.elapsed(), ms(0), "it can say so itself");
    tree.shutdown(LONG).await;
    child.healthy(epoch + 1);
}
