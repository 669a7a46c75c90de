//! Token authority: typed, bound, counted permissions.
