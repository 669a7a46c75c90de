//! An event as the journal would give it back.

use health::Event;
use kernel::json;

pub fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    let read = json::read((kind.id, kind.version), body).expect("what was written is read");
    assert_eq!(&read, event, "it means the same");
    read
}
