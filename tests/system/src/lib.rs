//! The whole system against the lab; the demo and the benchmarks.
