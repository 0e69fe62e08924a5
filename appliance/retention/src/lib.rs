//! Retention locks and the retention clock: (state, event) -> verdict.
