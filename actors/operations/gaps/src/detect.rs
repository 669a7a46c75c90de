//! What the content of a file says is missing. Pure: the scanner reads, these judge.
