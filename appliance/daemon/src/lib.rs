//! holdfastd: reads the configuration, builds the parts, wires them.
