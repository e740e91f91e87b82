//! Reads, checks and edits the operator's folder.
