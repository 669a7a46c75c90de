//! The one actor shell that runs any machine.
