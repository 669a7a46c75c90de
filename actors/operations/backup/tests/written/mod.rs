//! An event as the journal would give it back.

use backup::Event;
use kernel::{Kind, Reader, Recorded, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub struct Page;

impl Writer for Page {
    type Done = (u32, u16, String);

    fn put<T: Serialize>(self, kind: Kind, body: &T) -> Self::Done {
        (kind.id, kind.version, serde_json::to_string(body).expect("a body is plain data"))
    }
}

pub struct Line<'a>(pub &'a str);

impl Reader for Line<'_> {
    type Error = String;

    fn get<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_str(self.0).map_err(|error| error.to_string())
    }

    fn unknown(self) -> String {
        "unknown kind".into()
    }
}

pub fn written_and_read(event: &Event) -> Event {
    let (id, version, body) = event.write(Page);
    let read = Event::read((id, version), Line(&body)).expect("what was written is read");
    assert_eq!(&read, event, "it means the same");
    read
}
