//! Todos: the work that open gaps call for.
