//! The pure planner: desired and observed state in, a plan out.
