//! HTTP and JSON on a Unix socket.
