//! Journal, executor and the traits that drivers implement.
