//! Running one plugin.
