//! Gap detector: findings that open, close and reopen by evidence.
