//! SOP, the operations authority.
