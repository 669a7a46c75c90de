//! Cedar policies: strict validation and decisions, pure.
