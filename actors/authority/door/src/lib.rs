//! The one door: a pure judge and a thin front.
