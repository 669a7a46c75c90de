//! The panic hook belongs to the process, so this test has one of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Backoff, Child, ChildRef, Exit, Strategy, Supervisor, Tree};

static HEARD: AtomicU32 = AtomicU32::new(0);

struct Frail;

impl Actor for Frail {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        // A panic that is caught inside is nobody else's business.
        assert!(std::panic::catch_unwind(|| panic!("within")).is_err());
        panic!("without")
    }
}

#[tokio::test]
async fn the_hook_that_was_there_is_called_and_one_that_comes_is_left() {
    std::panic::set_hook(Box::new(|_| {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }));
    let lines = include_str!("hooks.rs").lines().zip(1..);
    let line: u32 = lines.filter(|(text, _)| text.ends_with("panic!(\"without\")")).map(|(_, line)| line).sum();
    let child = ChildRef::new("child");
    let root = Supervisor::new("root", Strategy::OneForOne).backoff(Backoff::none());
    let tree = Tree::start(root.child(Child::actor(&child, || (Frail, ()))), 1).await.unwrap();
    for (epoch, is_known) in [(1, true), (2, false)] {
        child.cast(()).unwrap();
        child.up_after(epoch).await;
        let exit = tree.snapshot().children[0].last_exit.clone();
        let Some(Exit::Panicked { message, place }) = exit else { panic!("{exit:?}") };
        assert_eq!((message.as_str(), place.is_some()), ("without", is_known));
        let of_this = place.is_none_or(|place| place.starts_with(&format!("{}:{line}:", file!())));
        assert!(of_this, "not the one within");
        assert_eq!(HEARD.swap(0, Ordering::Relaxed), if is_known { 2 } else { 0 });
        std::panic::set_hook(Box::new(|_| ()));
    }
}
