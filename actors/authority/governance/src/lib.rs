//! Governance: policy epochs, operators, emergency stop.
